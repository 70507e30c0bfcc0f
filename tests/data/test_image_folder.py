import os
import pickle
import subprocess

import fakes
import pytest
from torchvision.transforms.functional import to_tensor

from neglab.data.base import About, ImageFile, UnreadableImageError, read_image
from neglab.data.image_folder import ImageFolder, images_below
from neglab.store import Store
from neglab.types import UserError


@pytest.fixture
def root(tmp_path):
    for name, count in (("b_bird", 2), ("a cat", 3)):
        fakes.write_pictures(tmp_path / "id" / name, count)
    (tmp_path / "id" / "a cat" / "notes.txt").write_text("no picture")
    return tmp_path / "id"


def test_each_subfolder_is_a_class(root):
    folder = ImageFolder(str(root), True, None, None, None)
    assert folder.class_names().names == ("a cat", "b bird")
    images = folder.images()
    assert images.labels == (0, 0, 0, 1, 1)
    assert [source.path.parent.name for source in images.sources] == ["a cat"] * 3 + ["b_bird"] * 2


def test_names_from_a_list_or_a_file(root, tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\nbird \n")
    assert ImageFolder(str(root), True, str(tmp_path / "names.txt"), None, None).class_names().names == ("cat", "bird")
    assert ImageFolder(str(root), True, ["cat", "bird"], None, None).class_names().names == ("cat", "bird")


def test_an_ood_set_takes_every_image_below(root):
    images = ImageFolder(str(root), False, None, None, None).images()
    assert images.labels == (-1,) * 5
    assert list(images.sources) == sorted(images.sources, key=str)


def test_duplicate_names_are_kept_and_said(root, caplog):
    assert ImageFolder(str(root), True, ["cat", "cat"], None, None).class_names().names == ("cat", "cat")
    assert "more than once and are kept: cat" in caplog.text


def test_mistakes(root, tmp_path):
    with pytest.raises(UserError, match="image folder must exist; got"):
        ImageFolder(str(tmp_path / "nowhere"), False, None, None, None).images()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"at least one image .* such as .*empty"):
        ImageFolder(str(tmp_path / "empty"), False, None, None, None).images()
    with pytest.raises(UserError, match="one subfolder per class; got none"):
        ImageFolder(str(tmp_path / "empty"), True, None, None, None).class_names()
    with pytest.raises(UserError, match="got 3 names and 2 subfolders"):
        ImageFolder(str(root), True, ["a", "b", "c"], None, None).class_names()
    with pytest.raises(UserError, match="file of names must exist"):
        ImageFolder(str(root), True, "nowhere.txt", None, None).class_names()
    (root / "c_empty").mkdir()
    with pytest.raises(UserError, match=r"at least one image .* in 1, such as .*c_empty"):
        ImageFolder(str(root), True, None, None, None).images()


def test_only_some_folders_in_the_given_order(root, tmp_path):
    fakes.write_pictures(root / "c", 1)
    folder = ImageFolder(str(root), True, None, ["c", "a cat"], None)
    assert folder.class_names().names == ("c", "a cat")
    images = folder.images()
    assert images.labels == (0, 1, 1, 1)
    assert [source.path.parent.name for source in images.sources] == ["c", "a cat", "a cat", "a cat"]
    (tmp_path / "folders.txt").write_text("c\nb_bird\n")
    assert len(ImageFolder(str(root), False, None, str(tmp_path / "folders.txt"), None).images()) == 3
    with pytest.raises(UserError, match="every subfolder that is asked for; got none of 1, such as 'd'"):
        ImageFolder(str(root), False, None, ["c", "d"], None).images()


def test_extra_files_and_hidden_folders_are_passed_over(root):
    for name in (".DS_Store", "._picture00.png", "Thumbs.db", "desktop.ini", ".hidden.png"):
        (root / "a cat" / name).write_bytes(b"no picture")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        fakes.write_pictures(root / name, 1)
    fakes.write_pictures(root / "a cat" / ".thumbnails", 1)
    (root / "checksums.txt").write_text("")
    images = ImageFolder(str(root), True, None, None, None).images()
    assert images.labels == (0, 0, 0, 1, 1)
    assert len(ImageFolder(str(root), False, None, None, None).images()) == 5


def test_names_that_no_keyboard_has_and_uppercase_endings(root):
    first, second = fakes.write_pictures(root / "crème brûlée 🍮 ", 2)
    first.rename(first.with_name("Ψ 図.PNG"))
    second.rename(second.with_name("second.JpEg"))
    folder = ImageFolder(str(root), True, None, None, None)
    assert folder.class_names().names[2] == "crème brûlée 🍮"
    names = [source.path.name for source in folder.images().sources[5:]]
    assert names == ["second.JpEg", "Ψ 図.PNG"]
    assert read_image(folder.images().sources[6], to_tensor).shape == (3, 40, 36)


def test_a_file_name_that_is_not_utf8_is_said(root):
    (root / "a cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"must be UTF-8; got b'.*caf\\xe9.png'. Rename it"):
        ImageFolder(str(root), True, None, None, None).images()


def test_links_are_followed(root, tmp_path):
    elsewhere = fakes.write_pictures(tmp_path / "elsewhere", 2)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "b_bird" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "b_bird" / "one.png").symlink_to(elsewhere[0])
    images = ImageFolder(str(root), True, None, None, None).images()
    assert images.labels == (0, 0, 0, 1, 1, 1, 1, 1, 2, 2)
    (tmp_path / "root").symlink_to(root)
    assert len(ImageFolder(str(tmp_path / "root"), False, None, None, None).images()) == 10


def test_a_loop_of_links_is_left_out_and_said(root, caplog):
    (root / "b_bird" / "above").symlink_to(root.parent)
    (root / "b_bird" / "again").symlink_to(root / "b_bird")
    (root / "b_bird" / "itself").symlink_to(root / "b_bird" / "itself")
    assert len(ImageFolder(str(root), False, None, None, None).images()) == 5
    assert caplog.text.count("leads back to a folder above it and is left out") == 2


def test_a_link_to_nowhere_is_listed_and_cannot_be_read(root):
    (root / "b_bird" / "lost.png").symlink_to(root / "nowhere.png")
    lost = ImageFolder(str(root), True, None, None, None).images().sources[3]
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_image(lost, to_tensor)


def test_archives_that_are_still_packed_are_named(root, tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "SUN.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"It holds SUN.tar.gz: extract it\."):
        ImageFolder(str(tmp_path / "packed"), False, None, None, None).images()
    with pytest.raises(UserError, match=r"got none. It holds SUN.tar.gz: extract it\."):
        ImageFolder(str(tmp_path / "packed"), True, None, None, None).images()
    (root / "d" / "inside").mkdir(parents=True)
    (root / "d" / "n01440764.TAR").write_bytes(b"")
    with pytest.raises(UserError, match=r"got none in 1, such as .*/d. It holds n01440764.TAR: extract it\."):
        ImageFolder(str(root), True, None, None, None).images()


def test_what_is_known_of_a_set(root, tmp_path, caplog):
    about = About(7, "Fetch it from its authors.", "for research")
    assert len(ImageFolder(str(root), True, None, None, about).images()) == 5
    assert "must hold 7 images to be the published set; got 5" in caplog.text
    caplog.clear()
    ImageFolder(str(root), True, None, None, About(5, "", "")).images()
    ImageFolder(str(root), True, None, None, About(None, "", "")).images()
    assert not caplog.text
    missing = (
        r"got .*nowhere. Set id_dataset.root or ood_datasets.NAME.root .* NEGLAB_DATA .* Fetch it from its authors\."
    )
    with pytest.raises(UserError, match=missing):
        ImageFolder(str(tmp_path / "nowhere"), True, None, None, about).images()


def test_many_files_are_listed_without_opening_them(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2000):
            (tmp_path / name / f"{i:05d}.JPEG").touch()
    calls = []
    monkeypatch.setattr(os, "stat", lambda *args, real=os.stat, **options: calls.append(1) or real(*args, **options))
    images = ImageFolder(str(tmp_path), True, None, None, None).images()
    assert len(images) == 4000
    assert len(calls) < 100  # folders alone are looked at
    assert len(pickle.dumps(images)) < 50 * len(images)  # what a spawned process is sent


def test_folders_nested_deeper_than_calls(tmp_path):
    """Made and removed step by step: their whole path is longer than one that the system takes at once."""
    depth, here = 1500, os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        here, parent = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(parent)
    (tmp_path / "a.png").touch()
    os.close(os.open("b.png", os.O_CREAT, dir_fd=here))
    found = [path.name for path in images_below(tmp_path)]
    os.close(here)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own way down is too deep
    assert found == ["a.png", "b.png"]


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImageError, match="Not a regular file"):
        read_image(ImageFile(tmp_path / "x.jpg"), lambda image: image)
    store = Store(tmp_path / "store")
    assert store.file_digests([tmp_path / "x.jpg"]) == {tmp_path / "x.jpg": ""}
