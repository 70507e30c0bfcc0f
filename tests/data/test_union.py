import fakes
import pytest

from neglab.data.base import About
from neglab.data.image_folder import ImageFolder
from neglab.data.union import UnionOfSets
from neglab.types import UserError


def folder(root, *classes, names=None):
    for i, name in enumerate(classes):
        fakes.write_pictures(root / name, i + 1)
    return ImageFolder(str(root), True, names, None, None)


def test_classes_of_each_set_are_those_of_the_first(tmp_path, caplog):
    photos, art = folder(tmp_path / "photos", "bear", "cat", "dog"), folder(tmp_path / "art", "dog", "bear")
    union = UnionOfSets({"photos": photos, "art": art}, About(99, "", ""))
    images, names = union.images(), union.class_names().names
    assert names == ("bear", "cat", "dog") and len(images) == 6 + 3
    for source, label in zip(images.sources, images.labels, strict=True):
        assert source.path.parent.name == names[label]
    assert "must hold 99 images" in caplog.text
    assert [path.parent.name for path in union.extent()] == ["photos"] * 3 + ["art"] * 2


def test_what_cannot_be_one_list_of_classes(tmp_path):
    first = folder(tmp_path / "photos", "bear", "cat")
    with pytest.raises(UserError, match=r"classes of the first; 1 of 2 in art are none, such as 'owl'"):
        UnionOfSets({"photos": first, "art": folder(tmp_path / "art", "owl", "cat")}, None).images()
    with pytest.raises(UserError, match="must have a set"):
        UnionOfSets({}, None)
