"""What an image set is called in the store, and which of its pictures are in another."""

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torchvision.transforms.functional import to_tensor

from neglab.columns import Numbers, Texts
from neglab.data.base import ImageList
from neglab.data.image_folder import ImageFolder
from neglab.data.shared import check_unshared
from neglab.data.sources import ImageSource, JoinedSources, MadeSources, Sources
from neglab.data.webdataset import TarImage
from neglab.embedding import file_digests
from neglab.embedding.requests import ImageRequest
from neglab.embedding.store import Store
from neglab.files import digest
from neglab.places import RemotePath
from neglab.types import UserError

IDENTITY = {"kind": "image", "backbone": "b"}


class Cell(ImageSource):
    """A picture in a table."""

    def __init__(self, key):
        self._key = key

    @property
    def key(self):
        return self._key

    def open(self):
        raise OSError


def cells(*keys):
    return MadeSources(Cell, Texts(keys))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(file_digests, "CHUNK", 3)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(7):
        path = tmp_path / "set" / str(i % 2) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i % 5]))
    return [Path("set/0/0.png"), tmp_path / "set/1/1.png", *sorted(tmp_path.glob("set/*/[23456].png"))]


def request(tmp_path, images, hashed=True):
    return ImageRequest(Store(tmp_path / "store"), IDENTITY, 4, images, hashed, to_tensor, 2, True)


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def plain_key(contents):
    """Of the entries that stores have."""
    content = {**IDENTITY, "images": contents, "view": "None"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_entries_keep_their_keys(tmp_path, files):
    tar, missing = tmp_path / "set/1/1.png", tmp_path / "none.png"
    stored = [RemotePath(f"s3://b//{i}.png", f"mark{i}", i) for i in range(2)]
    pieces = MadeSources(partial(TarImage, tar), Numbers([0, 3]), Numbers([3, 2]), Texts(["a", "b"]))
    parts = [pieces, cells("f00"), Sources.of_files([missing]), Sources.of_files(files[2:]), Sources.of_files(stored)]
    mixed = [(sha(tar), "0:3"), (sha(tar), "3:2"), ("", "f00"), ("", ""), *((sha(path), "") for path in files[2:])]
    mixed += [("", "s3://b//0.png mark0 0"), ("", "s3://b//1.png mark1 1")]
    together = ImageList(JoinedSources(parts), (0,) * len(mixed))
    places = [9, 1, 4, 2, 0, 5]
    turned = [(digest, f"{key} upright".strip() if i > 2 else key) for i, (digest, key) in enumerate(mixed)]
    twice = JoinedSources([pieces, Sources.of_files(files[:2]), pieces.take([1])])
    cases = [
        (ImageList.of_files(files, [0] * 7), [(sha(path), "") for path in files]),
        (ImageList.of_files(files, [0] * 7).upright(), [(sha(path), "upright") for path in files]),
        (ImageList.of_files([*files, files[0], missing], [0] * 9), [(sha(p), "") for p in [*files, files[0], missing]]),
        (together, mixed),
        (together.upright(), turned),
        (together.take(places), [mixed[i] for i in places]),
        (together.take(places).upright(), [turned[i] for i in places]),
        (ImageList(twice, (0,) * 5), [*mixed[:2], *((sha(path), "") for path in files[:2]), mixed[1]]),
        (ImageList.of(together.sources, together.labels), mixed),
        (ImageList.of(together.sources, together.labels).take(places).upright(), [turned[i] for i in places]),
        (ImageList.of_files([], []), []),
        (ImageList(JoinedSources([]), ()), []),
    ]
    for images, contents in cases:
        assert request(tmp_path, images).entry.folder.name == plain_key(contents)


def test_keys_of_files_that_are_not_read_stay_too(tmp_path, files):
    def look(path):
        status = path.stat()
        return f"{path.resolve()} {(status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size)}"

    images = ImageList.of_files([*files, tmp_path / "none.png"], [0] * 8)
    contents = [*((look(path), "") for path in files), ("", "")]
    assert request(tmp_path, images, hashed=False).entry.folder.name == plain_key(contents)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_a_list_that_is_never_whole_has_the_digest_of_a_whole_one(count, monkeypatch):
    monkeypatch.setattr("neglab.files.ITEMS", 2)
    items = [[str(i), {"é": i}] for i in range(count)]
    assert digest(iter(items)) == digest(items)
    assert digest({"b": iter(items), "c": {"z": 1, "a": None}, "a": "\udcff"}) == digest(
        {"a": "\udcff", "b": items, "c": {"a": None, "z": 1}}
    )


@pytest.mark.parametrize("hashed", [True, False])
def test_pictures_are_found_in_other_lists(tmp_path, files, hashed):
    copy = tmp_path / "copy.png"
    os.link(files[3], copy)
    missing = [tmp_path / "none.png", tmp_path / "no.png"]
    lists = {
        "id": ImageList.of_files([*files[:4], missing[0]], [0] * 5),
        "ood": ImageList.of_files([files[4], missing[1], files[3], copy], [-1] * 4),
        "turned": ImageList.of_files(files[:4], [-1] * 4).upright(),
        "cells": ImageList(cells("1", "2"), (0, 0)),
        "others": ImageList(cells("3", "2"), (0, 0)),
    }
    sets = {name: request(tmp_path, images, hashed) for name, images in lists.items()}
    for pair in (("id", "turned"), ("cells", "ood"), ("id", "cells")):
        check_unshared(sets, [pair], False)
    number = 3 if hashed else 1  # a file of another name is another
    with pytest.raises(UserError, match=f"{number} of 4 images of ood are in id too"):
        check_unshared(sets, [("id", "ood")], False)
    with pytest.raises(UserError, match="1 of 2 images of others are in cells too"):
        check_unshared(sets, [("cells", "others")], False)


def test_a_folder_takes_few_bytes_for_each_image(tmp_path, files):
    images = ImageFolder(str(tmp_path / "set"), True, ("a", "b"), None, None).images()
    found = request(tmp_path, images)
    assert found._marks.rows.nbytes == 32 * 7 and found._file_of is None
    assert np.array_equal(found.numbers()[:, 0] == 0, [False] * 7)


def test_joined_files_are_looked_up_without_an_object_each(files, tmp_path, monkeypatch):
    """Folders that are joined stay a column of paths, in the order in which tables of digests have them."""
    parts = [Sources.of_files(files[:3]), cells("a"), Sources.of_files(files[3:])]
    expected = Sources.files(JoinedSources(parts))
    monkeypatch.setattr(JoinedSources, "at", None)
    monkeypatch.setattr(JoinedSources, "__iter__", None)
    found, numbers = JoinedSources(parts).files()
    assert found == expected[0] and numbers.tolist() == expected[1].tolist() == [0, 1, 2, -1, 3, 4, 5, 6]
    turned, _ = JoinedSources(parts).upright().files()
    assert turned == found
