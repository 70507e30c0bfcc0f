"""What identifies the files of a set: digests of their content, or their paths and what `stat` says of them.

All of it is kept in columns: 32 bytes for each file, mapped from the disk where a table has them.
"""

import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file

from neglab.columns import PathTexts
from neglab.files import DamagedError, check_regular, digest
from neglab.mapped import write_tensors
from neglab.parts import NOTHING, file_digest, remove, stamp, tensors_digest

UNKNOWN = (-1, -1, -1, -1)  # the look of a file that cannot be read
UNSEEN = -2  # no file looks so
INT64 = 2**63 - 1
CHUNK = 2**13  # files that a thread looks at in one go, or whose keys are in memory
THREADS = 8  # a file system in a network answers each question late, but many at once

Found = TypeVar("Found")

logger = logging.getLogger(__name__)


class Marks(ABC):
    """What tells files from any others, by their position in a list."""

    @abstractmethod
    def texts(self, start: int, end: int) -> list[str]:
        """Of these files; empty where one cannot be read."""

    @abstractmethod
    def numbers(self) -> Int64[np.ndarray, "N 2"]:
        """128 bits of each file, to find files in another list; zeros where one cannot be read."""


@dataclass(frozen=True)
class Digests(Marks):
    """SHA-256 of files, and which of them could be read."""

    rows: UInt8[np.ndarray, "N 32"]
    are_known: Bool[np.ndarray, " N"]

    def texts(self, start: int, end: int) -> list[str]:
        text = self.rows[start:end].tobytes().hex()
        are_known = enumerate(self.are_known[start:end].tolist())
        return [text[64 * i : 64 * i + 64] if is_known else "" for i, is_known in are_known]

    def numbers(self) -> Int64[np.ndarray, "N 2"]:
        found = self.rows[:, :16].copy().view(np.int64)
        found[~self.are_known] = 0
        return found


@dataclass(frozen=True)
class OutsideLooks(Marks):
    """Place, inode, times and size of files."""

    places: PathTexts
    looks: Int64[np.ndarray, "N 4"]

    def texts(self, start: int, end: int) -> list[str]:
        looks = map(tuple, self.looks[start:end].tolist())
        return [
            "" if look == UNKNOWN else f"{place} {look}"
            for place, look in zip(self.places[start:end], looks, strict=True)
        ]

    def numbers(self) -> Int64[np.ndarray, "N 2"]:
        found = np.zeros((len(self.looks), 2), dtype=np.int64)
        for start, end in chunks(len(found)):
            found[start:end] = [number_of(text) for text in self.texts(start, end)]
        return found


def number_of(text: str) -> tuple[int, int]:
    """128 bits of a text; zeros for the empty one."""
    content = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return (int.from_bytes(content[:8], signed=True), int.from_bytes(content[8:16], signed=True)) if text else (0, 0)


def content_digests(tables: Path, paths: PathTexts) -> Digests:
    """SHA-256 of each file. A file is read again only when its place, inode, size or a time has changed.

    A table belongs to one list of places and has its order, so that it holds no names: what each file looked like, and
    its digest, 64 bytes in all. A file that cannot be read, such as a link to nowhere, has an empty digest: whoever
    opens it says what is wrong.

    Args:
        tables: folder of the tables.
        paths: the files, each once.
    """
    table = tables / f"{digest(iter(_places(paths)))}.safetensors"
    known = _read_table(table, len(paths))
    looks, digests = known

    def changes(start: int, end: int) -> _Changes:
        texts, seen = paths[start:end], _looks(paths, start, end)
        places = (seen != known[0][start:end]).any(axis=1).nonzero()[0]
        rows = np.zeros((len(places), 32), dtype=np.uint8)
        for row, i in zip(rows, places.tolist(), strict=True):
            try:
                row[:] = _bytes_of(file_digest(Path(texts[i])))
            except (OSError, ValueError):
                seen[i] = UNKNOWN
        return _Changes(start + places, seen[places], rows)

    for places, seen, rows in _together(changes, len(paths)):
        if len(places):
            if digests is known[1]:  # mapped from the disk
                looks, digests = np.array(looks), np.array(digests)
            looks[places], digests[places] = seen, rows
    if digests is not known[1]:
        content = {"looks": torch.from_numpy(looks), "digests": torch.from_numpy(digests)}
        checksum = torch.from_numpy(_bytes_of(tensors_digest(content)))
        write_tensors(table, {**content, "checksum": checksum})
    return Digests(digests, looks[:, 0] >= 0)


def outside_looks(paths: PathTexts) -> OutsideLooks:
    """Place, inode, times and size of each file, without reading it."""
    looks = np.empty((len(paths), 4), dtype=np.int64)

    def look(start: int, end: int) -> None:
        looks[start:end] = _looks(paths, start, end)

    for _ in _together(look, len(paths)):
        pass
    return OutsideLooks(_places(paths), looks)


class _Changes(NamedTuple):
    """Files that look other than the table has it: their positions, looks and digests."""

    places: np.ndarray
    looks: np.ndarray
    digests: np.ndarray


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each part of so many files."""
    return ((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def _together(work: Callable[[int, int], Found], count: int) -> Iterator[Found]:
    """What the work finds in each chunk, in their order; several threads do it."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(lambda chunk: work(*chunk), chunks(count))


def _looks(paths: PathTexts, start: int, end: int) -> Int64[np.ndarray, "K 4"]:
    return np.array([_look(path) for path in paths[start:end]], dtype=np.int64).reshape(-1, 4)


def _look(path: str) -> tuple[int, ...]:
    try:
        inode, *others = stamp(path)
        return (inode & INT64, *others)
    except (OSError, ValueError):
        return UNKNOWN


def _bytes_of(text: str) -> UInt8[np.ndarray, " 32"]:
    return np.frombuffer(bytearray.fromhex(text), dtype=np.uint8)


def _read_table(path: Path, num_files: int) -> tuple[Int64[np.ndarray, "N 4"], UInt8[np.ndarray, "N 32"]]:
    """What is known of each file: its look, unlike any where nothing is, and its digest; mapped from the disk."""
    nothing = np.broadcast_to(np.int64(UNSEEN), (num_files, 4)), np.broadcast_to(np.uint8(0), (num_files, 32))
    try:
        check_regular(path)
        content = load_file(path)
        checksum = content.pop("checksum", NOTHING)
        looks, digests = content.get("looks", NOTHING), content.get("digests", NOTHING)
        if (looks.shape, digests.shape) != ((num_files, 4), (num_files, 32)) or looks.dtype != torch.int64:
            raise DamagedError("it is a table of something else")
        if checksum.tolist() != _bytes_of(tensors_digest(content)).tolist():
            raise DamagedError("it does not match its checksum")
    except FileNotFoundError:
        return nothing
    except (OSError, SafetensorError, DamagedError) as error:
        logger.warning("A table of file digests was damaged and is made again: %s (%s)", path, error)
        remove(path)
        return nothing
    return looks.numpy(), digests.numpy()


def _places(paths: PathTexts) -> PathTexts:
    """Where each file lies, whatever the folder in which it is named."""
    return paths.below([_real_folder(folder) for folder in paths.folders])


def _real_folder(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL: whoever opens the file says so
        return folder
