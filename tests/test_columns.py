import os
import pickle
from functools import partial
from pathlib import Path

import pytest

from neglab.columns import Made, Numbers, PathTexts, Texts, texts_at

PATHS = ["a.png", "b/a.png", "/c/é/b.png", "/root.png", "b/c.png", "../x.png", "..", ".", "//net/x.png", "b/\udcff.png"]
URLS = ["s3://a/b/c.png", "s3://a//c.png", "s3://a/b//c.png", "s3://a", "s3://c.png"]


def test_paths_come_back_as_they_were():
    texts = PathTexts.of(map(Path, PATHS))
    assert list(texts) == [str(Path(path)) for path in PATHS] == [texts[i] for i in range(len(PATHS))] == texts
    assert texts[-1] == PATHS[-1] and texts[1:3] == PATHS[1:3] and len(texts.folders) == 6
    with pytest.raises(IndexError):
        texts[len(PATHS)]
    assert list(texts.take([4, 0])) == ["b/c.png", "a.png"]
    assert list(map(os.path.join, *zip(*texts.pairs(), strict=True))) == PATHS


def test_addresses_come_back_as_they_were():
    assert list(PathTexts.of(URLS)) == URLS


def test_other_folders_leave_the_column_as_it_is():
    texts = PathTexts.of(["a/x", "b/y"])
    assert list(texts.below(["/c", "d"])) == ["/c/x", "d/y"] and list(texts) == ["a/x", "b/y"]


def test_folders():
    texts = PathTexts.of(["b/x", "a/x", "b/y", "a/w"])
    assert texts.by_folder().tolist() == [0, 2, 1, 3]
    assert texts.folders_of(0, 4) == {"a", "b"} and texts.folders_of(1, 2) == {"a"} and texts.folders_of(2, 2) == set()


def test_repeats_are_seen():
    assert PathTexts.of(["a/x", "b/x", "a/x"]).have_repeats()
    assert not PathTexts.of(["a/x", "b/x", "a/y"]).have_repeats() and not PathTexts().have_repeats()


def test_a_text_takes_its_bytes_and_eight():
    texts = Texts(["", "é"])
    texts.append("\n")
    assert list(texts) == ["", "é", "\n"] and len(texts._content) == 3 and texts._ends.itemsize == 8


def test_items_are_made_of_rows():
    made = Made(partial(divmod), Numbers([7, 8, 2**40]), Numbers([2, 3, 4]))
    assert made == ((3, 1), (2, 2), (2**38, 0)) and made[1] == (2, 2) and made != ((3, 1),) and made != 3
    assert list(made.take([2, 0])) == [(2**38, 0), (3, 1)] and len(made.take([])) == 0
    assert list(pickle.loads(pickle.dumps(made))) == list(made)


@pytest.mark.parametrize("texts", [("a", "b", "a"), Texts(["a", "b", "a"]), PathTexts.of(["a", "b", "a"])])
def test_texts_are_taken(texts):
    assert list(texts_at(texts, iter([2, 1]))) == ["a", "b"]
