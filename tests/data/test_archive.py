import layouts
import pytest

from neglab.data import archive
from neglab.data.archive import ArchiveFolder
from neglab.types import UserError


def textures(root, download=False):
    return ArchiveFolder(str(root / "dtd"), "https://example.org/dtd.tar.gz", "f00d", download, None)


def test_every_image_below_is_taken(tmp_path):
    layouts.textures(tmp_path)
    images = textures(tmp_path).images()
    assert len(images) == 6 and set(images.labels) == {-1}
    layouts.textures(tmp_path / "dtd")  # where torchvision puts it
    assert len(textures(tmp_path / "dtd").images()) == 6


def test_the_archive_is_fetched_only_where_the_folder_is_missing(tmp_path, monkeypatch):
    fetched = []

    def fetch(url, folder, md5):
        fetched.append((url, folder, md5))
        layouts.textures(tmp_path)

    monkeypatch.setattr(archive, "download_and_extract_archive", fetch)
    for _ in range(2):
        assert len(textures(tmp_path, download=True).images()) == 6
    assert fetched == [("https://example.org/dtd.tar.gz", str(tmp_path), "f00d")]


def test_what_is_missing_is_a_users_mistake(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="must exist"):
        textures(tmp_path).images()
    with pytest.raises(UserError, match="without classes"):
        textures(tmp_path).class_names()

    def fail(*arguments, **named):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(archive, "download_and_extract_archive", fail)
    with pytest.raises(UserError, match="reachable and whole"):
        textures(tmp_path, download=True).images()
