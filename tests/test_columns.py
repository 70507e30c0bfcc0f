import os
import pickle
from pathlib import Path

import pytest

from neglab.columns import PathTexts, Texts, View, joined, packed

PATHS = ["a.png", "b/a.png", "/c/é/b.png", "/root.png", "b/c.png", "../x.png", "..", ".", "//net/x.png", "b/\udcff.png"]


def test_paths_come_back_as_they_were():
    texts = PathTexts.of(map(Path, PATHS))
    assert list(texts) == [str(Path(path)) for path in PATHS] == [texts[i] for i in range(len(PATHS))] == texts
    assert texts[-1] == PATHS[-1] and texts[1:3] == PATHS[1:3] and len(texts.folders) == 6
    with pytest.raises(IndexError):
        texts[len(PATHS)]
    assert list(texts.take([4, 0])) == ["b/c.png", "a.png"]
    assert list(map(os.path.join, *zip(*texts.pairs(), strict=True))) == PATHS
    assert list(pickle.loads(pickle.dumps(View(texts, Path)))) == list(map(Path, PATHS))


def test_other_folders_leave_the_column_as_it_is():
    texts = PathTexts.of(["a/x", "b/y"])
    assert list(texts.below(["/c", "d"])) == ["/c/x", "d/y"] and list(texts) == ["a/x", "b/y"]


def test_columns_are_joined():
    columns = [packed([Path("a/x"), Path("b/y")]), packed([]), packed([Path("a/z")])]
    whole = joined(columns)
    assert whole == (Path("a/x"), Path("b/y"), Path("a/z")) and whole.texts.folders == ["a", "b"]
    assert whole != (Path("a/x"), Path("b/y"), Path("a/y")) and whole != columns[0] and whole != 3


def test_repeats_are_seen():
    assert PathTexts.of(["a/x", "b/x", "a/x"]).have_repeats()
    assert not PathTexts.of(["a/x", "b/x", "a/y"]).have_repeats() and not PathTexts().have_repeats()


def test_a_text_takes_its_bytes_and_eight():
    texts = Texts()
    for text in ("", "é", "\n"):
        texts.append(text)
    assert list(texts) == ["", "é", "\n"] and len(texts._content) == 3 and texts._ends.itemsize == 8
