import pytest

from neglab.data.names import given_names, numbered, read_lines
from neglab.types import UserError


def test_a_file_of_names_as_editors_write_it(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffcat  \r\n\r\n crème_brûlée\r\n".encode())
    assert read_lines(tmp_path / "names.txt") == ["cat", "crème_brûlée"]
    assert given_names(str(tmp_path / "names.txt")) == ["cat", "crème_brûlée"]
    assert given_names(["cat ", 7]) == ["cat", "7"]
    assert given_names(None) is None


def test_a_file_in_another_encoding_is_said(tmp_path):
    (tmp_path / "names.txt").write_bytes("crème".encode("latin-1"))
    with pytest.raises(UserError, match="must be UTF-8 text; byte 2 is not"):
        read_lines(tmp_path / "names.txt")


def test_labels_become_positions():
    assert numbered([2, 0], ["a", "b", "c"], "here") == ((2, 0), ("a", "b", "c"))
    assert numbered(["c", "a", "c"], ["a", "b", "c"], "here") == ((2, 0, 2), ("a", "b", "c"))
    assert numbered(["owl", "cat", "owl"], None, "here") == ((1, 0, 1), ("cat", "owl"))
    assert numbered(["a"], ["a", "a"], "here")[0] == (0,)


@pytest.mark.parametrize("label", [-1, 3, "d", None])
def test_a_label_without_a_name(label):
    with pytest.raises(UserError, match=f"one of the 3 class names, or a number from 0 to 2; got {label!r} in here"):
        numbered([0, label], ["a", "b", "c"], "here")


def test_numbers_need_names():
    for label in (4, None):
        with pytest.raises(UserError, match=f"Labels that are no names need names; got {label} in here"):
            numbered(["a", label], None, "here")
