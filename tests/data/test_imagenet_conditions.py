import fakes
import pytest

from neglab.data.imagenet_conditions import ImageNetConditions
from neglab.types import UserError


def conditions(root, folders=None, list_path=None):
    return ImageNetConditions(str(root), folders, list_path, None)


def test_the_class_of_an_image_is_the_folder_that_holds_it(tmp_path):
    for place in ("fog/1/n02084071", "fog/2/n01440764", "snow/1/n01440764"):
        fakes.write_pictures(tmp_path / place, 2)
    dataset = conditions(tmp_path)
    assert dataset.class_names().names == ("tench", "dog") and dataset.images().labels == (1, 1, 0, 0, 0, 0)
    assert conditions(tmp_path, ["snow"]).class_names().names == ("tench",)
    assert len(conditions(tmp_path, ["fog/2", "snow/1"]).images()) == 4
    (tmp_path / "list.txt").write_text("fog/1/n02084071/picture01.png 7\nsnow/1/n01440764/picture00.png 0\n")
    assert conditions(tmp_path, None, str(tmp_path / "list.txt")).images().labels == (1, 0)


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="must exist"):
        conditions(tmp_path / "nowhere").images()
    (tmp_path / "fog").mkdir()
    with pytest.raises(UserError, match="must hold images"):
        conditions(tmp_path).images()
    with pytest.raises(UserError, match=r"asked for must exist, which .*/rain does not"):
        conditions(tmp_path, ["rain"]).images()
    with pytest.raises(UserError, match=r"The list of images must exist"):
        conditions(tmp_path, None, str(tmp_path / "list.txt")).images()
    fakes.write_pictures(tmp_path / "fog/1", 1)
    with pytest.raises(UserError, match=r"named by the WordNet id of its class; .*fog/1/picture00.png does not"):
        conditions(tmp_path).images()
