import layouts
import pytest

from neglab.data.cub import CUB200
from neglab.types import UserError


def birds(root, split="test"):
    return CUB200(str(root / "CUB_200_2011"), split, None)


def test_names_have_no_number_and_no_underscore(tmp_path):
    layouts.cub200(tmp_path, 3)
    assert birds(tmp_path).class_names().names == ("Black footed Albatross", "Laysan Albatross", "Sooty Albatross")


def test_the_splits_are_those_of_the_table(tmp_path):
    layouts.cub200(tmp_path, 3)
    assert birds(tmp_path, "train").images().labels == (0, 1, 2)
    assert birds(tmp_path).images().labels == (0, 0, 1, 1, 2, 2)
    assert birds(tmp_path, "all").images().labels == (0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert birds(tmp_path, "train").images().sources[1].path.name == "Laysan_Albatross_0000_7960.jpg"


def test_what_is_missing_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="train, test, all"):
        birds(tmp_path, "val")
    with pytest.raises(UserError, match="must exist"):
        birds(tmp_path).images()
    layouts.cub200(tmp_path, 3)
    (tmp_path / "CUB_200_2011/images").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="at least must exist"):
        birds(tmp_path).images()


def test_a_damaged_table_is_a_users_mistake(tmp_path):
    layouts.cub200(tmp_path, 3)
    (tmp_path / "CUB_200_2011/train_test_split.txt").write_text("1 1\n")
    with pytest.raises(UserError, match="must be whole"):
        birds(tmp_path).images()
