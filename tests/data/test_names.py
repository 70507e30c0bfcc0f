import os
import time

import pytest

from neglab.data.names import as_words, given_names, numbered, read_lines
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


@pytest.mark.parametrize("names", [3, 2.5, True, {"cat": 1}, [["cat"]], [None]])
def test_what_is_no_list_of_names(names):
    with pytest.raises(UserError, match="Names must be a list of names"):
        given_names(names)


def test_names_that_stand_more_than_once_are_said(caplog):
    assert as_words(["crane", "cat", "crane"]).names == ("crane", "cat", "crane")
    assert "more than once and are kept: crane" in caplog.text


def test_the_cost_of_a_list_grows_with_its_length():
    """20,000 names took 25 seconds where each was counted in the list."""
    names = [f"class {i}" for i in range(20_000)]
    start = time.process_time()
    as_words(names)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_only_a_file_is_opened(tmp_path, make):
    make(tmp_path / "names.txt")
    with pytest.raises(UserError, match=r"must exist; got .*Not a regular file"):
        read_lines(tmp_path / "names.txt")


def test_a_path_that_is_too_long_is_said():
    with pytest.raises(UserError, match="File name too long"):
        read_lines("a" * 5000)
