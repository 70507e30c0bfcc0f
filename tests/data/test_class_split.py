import fakes
import pytest

from neglab.data.class_split import ClassSplit
from neglab.data.image_folder import ImageFolder
from neglab.types import UserError


@pytest.fixture
def animals(tmp_path):
    for i, name in enumerate(("ant", "bee", "cat", "dog")):
        fakes.write_pictures(tmp_path / name, i + 1)
    return ImageFolder(str(tmp_path), True, None, None, None)


def test_the_classes_of_a_split_are_relabelled_in_its_order(animals):
    split = ClassSplit(animals, [[0, 1], [3, 1]], 1, rest=False, labelled=True, about=None)
    assert split.class_names().names == ("dog", "bee")
    images = split.images()
    assert images.labels == (1, 1, 0, 0, 0, 0)
    assert [source.path.parent.name for source in images.sources] == ["bee"] * 2 + ["dog"] * 4


def test_the_rest_is_all_other_classes_and_of_no_class(animals):
    rest = ClassSplit(animals, [[0, 1], [3, 1]], 1, rest=True, labelled=False, about=None)
    images = rest.images()
    assert [source.path.parent.name for source in images.sources] == ["ant"] + ["cat"] * 3
    assert set(images.labels) == {-1}


def test_a_split_or_class_that_is_not_there_is_a_users_mistake(animals):
    with pytest.raises(UserError, match="0 to 1; got 2"):
        ClassSplit(animals, [[0], [1]], 2, rest=False, labelled=True, about=None)
    with pytest.raises(UserError, match="0 to 3; got 4"):
        ClassSplit(animals, [[4]], 0, rest=False, labelled=True, about=None).images()
