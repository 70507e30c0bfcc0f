import layouts
import pytest

from neglab.data.waterbirds import Waterbirds
from neglab.types import UserError


def birds(root, split="test"):
    return Waterbirds(str(root / "waterbird_complete95_forest2water2"), split, ["landbirds", "waterbirds"], None)


def test_splits_and_classes_are_those_of_the_table(tmp_path):
    layouts.waterbirds(tmp_path)
    assert birds(tmp_path).images().labels == (0, 1, 0)
    assert birds(tmp_path, "val").images().labels == (1,)
    assert birds(tmp_path, "all").images().labels == (0, 0, 1, 1, 0)
    assert [source.path.name for source in birds(tmp_path, "train").images().sources] == ["Some_Bird_0001_34.jpg"]
    assert birds(tmp_path).class_names().names == ("landbirds", "waterbirds")


def test_what_does_not_fit_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="train, val, test or all"):
        birds(tmp_path, "2")
    with pytest.raises(UserError, match=r"metadata\.csv"):
        birds(tmp_path).images()
    layouts.put(tmp_path / "waterbird_complete95_forest2water2/metadata.csv", "img_id,y\n1,0\n")
    with pytest.raises(UserError, match="img_filename, split lack"):
        birds(tmp_path).images()


def test_a_damaged_table_is_a_users_mistake(tmp_path):
    table = 'img_filename,y,split\nbird.jpg,"",2\n'
    layouts.put(tmp_path / "waterbird_complete95_forest2water2/metadata.csv", table)
    with pytest.raises(UserError, match="must be whole"):
        birds(tmp_path).images()
