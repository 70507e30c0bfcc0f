import fakes
import pytest
from PIL import Image
from torchvision.transforms.functional import to_tensor

from neglab.data.base import ImageFile, UnreadableImageError, read_image
from neglab.data.image_folder import ImageFolder
from neglab.types import UserError


@pytest.fixture
def root(tmp_path):
    for name, count in (("b_bird", 2), ("a cat", 3)):
        fakes.write_pictures(tmp_path / "id" / name, count)
    (tmp_path / "id" / "a cat" / "notes.txt").write_text("no picture")
    return tmp_path / "id"


def test_each_subfolder_is_a_class(root):
    folder = ImageFolder(str(root), True, None)
    assert folder.class_names().names == ("a cat", "b bird")
    images = folder.images()
    assert images.labels == (0, 0, 0, 1, 1)
    assert [source.path.parent.name for source in images.sources] == ["a cat"] * 3 + ["b_bird"] * 2


def test_names_from_a_list_or_a_file(root, tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\nbird \n")
    assert ImageFolder(str(root), True, str(tmp_path / "names.txt")).class_names().names == ("cat", "bird")
    assert ImageFolder(str(root), True, ["cat", "bird"]).class_names().names == ("cat", "bird")


def test_an_ood_set_takes_every_image_below(root):
    images = ImageFolder(str(root), False, None).images()
    assert images.labels == (-1,) * 5
    assert list(images.sources) == sorted(images.sources, key=str)


def test_duplicate_names_are_kept_and_said(root, caplog):
    assert ImageFolder(str(root), True, ["cat", "cat"]).class_names().names == ("cat", "cat")
    assert "more than once and are kept: cat" in caplog.text


def test_mistakes(root, tmp_path):
    with pytest.raises(UserError, match="image folder must exist; got"):
        ImageFolder(str(tmp_path / "nowhere"), False, None).images()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No image found below"):
        ImageFolder(str(tmp_path / "empty"), False, None).images()
    with pytest.raises(UserError, match="one subfolder per class; got none"):
        ImageFolder(str(tmp_path / "empty"), True, None).class_names()
    with pytest.raises(UserError, match="got 3 names and 2 subfolders"):
        ImageFolder(str(root), True, ["a", "b", "c"]).class_names()
    with pytest.raises(UserError, match="file of class names must exist"):
        ImageFolder(str(root), True, "nowhere.txt").class_names()
    (root / "c_empty").mkdir()
    with pytest.raises(UserError, match=r"at least one image; got none in .*c_empty"):
        ImageFolder(str(root), True, None).images()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    Image.new(mode, (8, 9)).save(path)
    assert read_image(ImageFile(path), to_tensor).shape == (3, 9, 8)


def test_what_cannot_be_read(tmp_path):
    whole = fakes.write_pictures(tmp_path, 1)[0].read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(UnreadableImageError):
            read_image(ImageFile(tmp_path / "broken.png"), to_tensor)
