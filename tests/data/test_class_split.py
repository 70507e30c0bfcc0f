import fakes
import pytest

from neglab.data.class_split import ClassSplit
from neglab.data.image_folder import ImageFolder
from neglab.types import UserError
from neglab.wordnet import synset_of_wnid


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


def test_synsets_go_with_their_classes(tmp_path):
    wnids = ("n01440764", "n01443537", "n01484850")
    for wnid in wnids:
        fakes.write_pictures(tmp_path / wnid, 1)
    names = {"n01440764": "tench", "n01443537": "goldfish", "n01484850": "white shark"}
    whole = ImageFolder(str(tmp_path), True, names, None, None)
    assert whole.class_names().synsets == tuple(map(synset_of_wnid, wnids))
    words = ClassSplit(whole, [[2, 0]], 0, rest=False, labelled=True, about=None).class_names()
    assert words.names == ("white shark", "tench")
    assert words.synsets == (synset_of_wnid(wnids[2]), synset_of_wnid(wnids[0])) != (None, None)


def test_a_split_or_class_that_is_not_there_is_a_users_mistake(animals):
    with pytest.raises(UserError, match="0 to 1; got 2"):
        ClassSplit(animals, [[0], [1]], 2, rest=False, labelled=True, about=None)
    with pytest.raises(UserError, match="0 to 3; got 4"):
        ClassSplit(animals, [[4]], 0, rest=False, labelled=True, about=None).images()


def test_a_split_may_be_a_range(animals):
    halves = [ClassSplit(animals, ["0-1", "2-3"], i, rest=False, labelled=True, about=None) for i in (0, 1)]
    assert [half.class_names().names for half in halves] == [("ant", "bee"), ("cat", "dog")]
    with pytest.raises(UserError, match="a range such as 0-99; got '2'"):
        ClassSplit(animals, ["2"], 0, rest=False, labelled=True, about=None)
