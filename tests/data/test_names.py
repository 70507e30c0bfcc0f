import json
import os
import re
import time
import unicodedata

import numpy as np
import pytest
from omegaconf import OmegaConf

from neglab.data.names import as_class_names, as_words, given_names, numbered, read_lines
from neglab.types import UserError


def test_a_file_of_names_as_editors_write_it(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffcat  \r\n\r\n crème_brûlée\r\n".encode())
    assert read_lines(tmp_path / "names.txt") == ["cat", "crème_brûlée"]
    assert given_names(str(tmp_path / "names.txt")) == ["cat", "crème_brûlée"]
    assert given_names(["cat ", 7]) == ["cat", "7"]
    assert given_names(None) is None


TWO = ["barn owl", "no"]
MAPPINGS = {"0": "barn owl", "1": "no"}, {"1": "no", "0": "barn owl"}, {"barn owl": 0, "no": 1}
FILES = {
    "json": [
        *map(json.dumps, (TWO, *MAPPINGS)),
        json.dumps({"model_type": "vit", "id2label": MAPPINGS[0], "label2id": MAPPINGS[2]}),
        json.dumps({"1": ["n02", "no"], "0": ["n01503061", "barn_owl"]}).replace("n02", "n00000002"),
    ],
    "yaml": ["- barn owl\n- no", "[barn owl, no]", "0: barn owl\n1: no", "nc: 2\nnames:\n  0: barn owl\n  1: no"],
    "csv": [
        '"barn owl"\nno', "name\nbarn owl\nno", "0,barn owl\n1,no", "index,class_name\n1,no\n0,barn owl",
        "name,size\nbarn owl,3\nno,4",
    ],
    "tsv": ["id\tname\n0\tbarn owl\n1\tno\n"],
    "names": ["barn owl\n\nno\n"],
}  # fmt: skip


@pytest.mark.parametrize(("ending", "text"), [(ending, text) for ending, texts in FILES.items() for text in texts])
def test_every_kind_of_file(tmp_path, ending, text):
    (tmp_path / f"file.{ending}").write_text(text)
    assert given_names(tmp_path / f"file.{ending}") == given_names(f"{tmp_path}/file.{ending}") == TWO


@pytest.mark.parametrize(
    "given", [np.array(TWO), tuple(TWO), {0: "barn owl", 1: "no"}, OmegaConf.create({1: "no", 0: "barn owl"})]
)
def test_every_kind_of_object(given):
    assert given_names(given) == TWO


def test_a_mapping_from_what_has_the_names(tmp_path):
    (tmp_path / "names.csv").write_text("folder,name\nn01,barn owl\nn03,not there\nn02,no\n")
    assert given_names(str(tmp_path / "names.csv"), ["n02", "n01"]) == ["no", "barn owl"]
    assert given_names({"1": "one", "2": "two"}, ["1", "2"]) == ["one", "two"]
    with pytest.raises(UserError, match=r"keys 0 to 1, or the class folders, such as n02; got 'n01', 'n03'"):
        given_names({"n01": "a", "n03": "b"}, ["n02", "n01"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "must be a list, or a file of them; got 3"),
        (2.5, "must be a list, or a file of them; got 2.5"),
        (True, "must be a list, or a file of them; got True"),
        ([None], "must be text; got None in place 1"),
        ([["cat"]], r"must be text; got \['cat'\] in place 1"),
        ({"cat": 1}, "must have the keys 0 to 0; got 'cat'"),
        ({"cat", "dog"}, "must be a list"),
        ([0, 1, 2], "must be words; got numbers, such as 0"),
        (np.arange(3), "must be words; got numbers"),
        (["cat", None], "must be text; got None in place 2"),
        (["cat", True], "must be text; got True in place 2"),
        (["cat", 1.5], "must be text; got 1.5 in place 2"),
        (["cat", {"a": "b"}], "must be text; got {'a': 'b'} in place 2"),
        ([["cat", "dog"]], r"must be text; got \['cat', 'dog'\] in place 1"),
        (["cat", " "], "must not be empty; got one in place 2"),
        ({"cat": "a", "dog": "b"}, "must have the keys 0 to 1; got 'cat', 'dog'"),
        ({"1": "a", "2": "b"}, "must have the keys 0 to 1; got '1', '2'"),
    ],
)
def test_what_is_no_list_of_names(given, message):
    with pytest.raises(UserError, match=message):
        given_names(given)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '["cat", '), ("a.yaml", "a: [b"), ("a.csv", "name,size\ncrane, bird,3"), ("a.json", "[" * 100_000),
        ("a.csv", "a,b,c\nd,e,f"), ("a.csv", "id,name\n0,cat\n0,dog"),
    ],
)  # fmt: skip
def test_a_damaged_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{name} must hold class names as .* files do; it cannot be read"):
        given_names(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["[cat", "dog]"], r"2 of 2 class names hold marks of a list, such as '\[cat'"),
        (["'cat',", "'dog'"], "2 of 2 class names hold marks of a list"),
        (["0 cat", "1 dog"], "begins with its number, such as '0 cat'"),
        (["001.Black Albatross", "002.Auklet"], "begins with its number"),
        (["n01440764 tench", "n01443537 goldfish"], "begins with its WordNet id"),
        (["crane (bird)", "747 jet", "737 jet", "St. John's wort", "7 up"], ""),
    ],
)
def test_marks_of_another_list_are_said(names, message, caplog):
    assert given_names(names) == names
    assert len(caplog.records) == bool(message) and re.search(message, caplog.text)


def test_composed_and_decomposed_letters_are_one_name():
    apart = unicodedata.normalize("NFD", "crème brûlée")
    assert given_names([apart]) == ["crème brûlée"]
    assert numbered([apart, "owl"], ["owl", "crème brûlée"], "here")[0] == (1, 0)


@pytest.mark.parametrize("names", [["1", "2"], ["n01440764", "cat"], ["n00000000", "n01440764"]])
def test_words_nobody_has_chosen(names):
    with pytest.raises(UserError, match=f"must be words; got .*, such as {names[0]}, in here"):
        as_class_names(names, "here")
    assert as_class_names(["747", "a320"], "here") == ["747", "a320"]


def test_wordnet_ids_are_named(caplog):
    """Classes of ImageNet as the papers name them, which for the first and third is not what WordNet says."""
    ids = ["n01608432", "n01440764", "n01847000", "n02084071", "n02121808"]
    expected = ["kite (bird of prey)", "tench", "duck", "dog", "domestic cat"]
    assert as_class_names(ids, "here") == expected
    assert "n01608432 = kite (bird of prey), n01440764 = tench, n01847000 = duck, ..." in caplog.text
    labels, names = numbered(["n02121808", "n01440764", "n02121808"], None, "here")
    assert (labels, names) == ((1, 0, 1), ("tench", "domestic cat"))


def test_a_file_in_another_encoding_is_said(tmp_path):
    (tmp_path / "names.txt").write_bytes("crème".encode("latin-1"))
    with pytest.raises(UserError, match="must be UTF-8 text; byte 2 is not"):
        read_lines(tmp_path / "names.txt")


def test_labels_become_positions():
    assert numbered([2, 0], ["a", "b", "c"], "here") == ((2, 0), ("a", "b", "c"))
    assert numbered(["c", "a", "c"], ["a", "b", "c"], "here") == ((2, 0, 2), ("a", "b", "c"))
    assert numbered(["owl", "cat", "owl"], None, "here") == ((1, 0, 1), ("cat", "owl"))
    assert numbered(["a"], ["a", "a"], "here")[0] == (0,)


def test_digits_are_names_where_all_labels_are_names():
    jets = ["737", "747", "a320"]
    assert numbered(["747", "a320", "747"], jets, "here")[0] == (1, 2, 1)
    assert numbered(["747", "a320", "747"], None, "here") == ((0, 1, 0), ("747", "a320"))
    assert numbered(["0", "2"], jets, "here")[0] == (0, 2)
    tens = [str(i) for i in range(1, 11)]
    assert numbered(["1", "10"], tens, "here")[0] == (0, 9)  # all are names
    assert numbered(["0", "1", "9"], tens, "here")[0] == (0, 1, 9)  # 0 is none
    assert numbered([1, 9], tens, "here")[0] == (1, 9)  # numbers are indices


def test_labels_counted_from_1():
    for labels in ([1, 2, 3], ["1", "2", "3"]):
        with pytest.raises(UserError, match="counted from 0; those in here go from 1 to 3, for 3 class names"):
            numbered(labels, ["a", "b", "c"], "here")


def test_several_labels_of_an_image():
    with pytest.raises(UserError, match=r"must have one label; got \[1, 2\] in here"):
        numbered([0, [1, 2]], ["a", "b", "c"], "here")


@pytest.mark.parametrize("label", [-1, 3, "d", None])
def test_a_label_without_a_name(label):
    with pytest.raises(UserError, match=f"one of the 3 class names, or a number from 0 to 2; got {label!r} in here"):
        numbered([0, label], ["a", "b", "c"], "here")


def test_numbers_need_names():
    for label in (4, None):
        with pytest.raises(UserError, match=f"Labels that are no names need names; got {label} in here"):
            numbered(["a", label], None, "here")


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
