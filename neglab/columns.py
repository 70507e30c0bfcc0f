"""Columns of many texts and paths, in buffers: a set may hold ten million files, and a Python object is large."""

import os
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from typing import Any, Generic, TypeVar, overload

import numpy as np
from jaxtyping import Int64

Item = TypeVar("Item", covariant=True)
Own = TypeVar("Own", bound="Made")


class Column(Sequence[Item], Generic[Item]):
    """A sequence that makes an item when it is asked for. A slice is a list; what has equal items is equal."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == another for one, another in zip(self, other, strict=True))
        )

    @abstractmethod
    def at(self, position: int) -> Item:
        """The item at a position from 0."""

    @abstractmethod
    def take(self, positions: Iterable[int]) -> "Column[Item]":
        """The items at these positions, in their order."""

    @overload
    def __getitem__(self, position: int) -> Item: ...
    @overload
    def __getitem__(self, position: slice) -> list[Item]: ...
    def __getitem__(self, position: int | slice) -> Item | list[Item]:
        places = range(len(self))[position]
        return self.at(places) if isinstance(places, int) else [self.at(place) for place in places]

    def __iter__(self) -> Iterator[Item]:
        return map(self.at, range(len(self)))


class Texts(Column[str]):
    """Texts, each of which takes its bytes and 8 more. Lone surrogates, which names of files may hold, are kept."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._content, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self._content += text.encode(errors="surrogatepass")
        self._ends.append(len(self._content))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def at(self, position: int) -> str:
        return self._content[self._ends[position] : self._ends[position + 1]].decode(errors="surrogatepass")

    def take(self, positions: Iterable[int]) -> "Texts":
        return Texts(map(self.at, positions))

    def __iter__(self) -> Iterator[str]:
        content = self._content
        return (content[start:end].decode(errors="surrogatepass") for start, end in pairwise(self._ends))


class Numbers(Column[int]):
    """Whole numbers, of 8 bytes each."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._numbers = array("q", numbers)

    def append(self, number: int) -> None:
        self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._numbers)

    def at(self, position: int) -> int:
        return self._numbers[position]

    def take(self, positions: Iterable[int]) -> "Numbers":
        return Numbers(map(self.at, positions))


class PathTexts(Column[str]):
    """The texts of paths or addresses: the name of each, its folder's number, and each folder once.

    Args:
        pairs: folder and name of each path; joined they must be a path in its plain form.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._names, self._numbers = Texts(), array("i")
        number_of: dict[str, int] = {}
        for folder, name in pairs:
            self._numbers.append(number_of.setdefault(folder, len(number_of)))
            self._names.append(name)
        self._set_folders(number_of)

    @classmethod
    def of(cls, paths: Iterable[object]) -> "PathTexts":
        """What `str` gives of each."""
        return cls(map(_split, map(str, paths)))

    def __len__(self) -> int:
        return len(self._names)

    def at(self, position: int) -> str:
        return self._beginnings[self._numbers[position]] + self._names.at(position)

    def __iter__(self) -> Iterator[str]:
        beginnings = self._beginnings
        return (beginnings[number] + name for number, name in zip(self._numbers, self._names, strict=True))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Folder and name of each."""
        return ((self.folders[number], name) for number, name in zip(self._numbers, self._names, strict=True))

    def below(self, folders: Sequence[str]) -> "PathTexts":
        """The same names in other folders, one for each of `folders`."""
        other = copy(self)
        other._set_folders(folders)
        return other

    def folders_of(self, start: int, end: int) -> set[str]:
        """The folders of the paths from one position to before another."""
        return {self.folders[number] for number in {*self._numbers[start:end]}}

    def by_folder(self) -> Int64[np.ndarray, " N"]:
        """The positions of all, folder by folder."""
        return np.argsort(self._numbers, kind="stable")

    def take(self, positions: Iterable[int]) -> "PathTexts":
        return PathTexts((self.folders[self._numbers[i]], self._names.at(i)) for i in positions)

    def _set_folders(self, folders: Iterable[str]) -> None:
        self.folders = list(folders)
        self._beginnings = [os.path.join(folder, "") for folder in self.folders]

    def have_repeats(self) -> bool:
        """Whether two may be the same: False is certain, and True is hardly ever wrong."""
        marks = np.fromiter(map(hash, zip(self._numbers, self._names, strict=True)), np.int64, len(self))
        marks.sort()
        return bool((marks[1:] == marks[:-1]).any())


def _split(path: str) -> tuple[str, str]:
    """Folder and name; an address that joining would change stays whole."""
    folder, name = os.path.split(path)
    return (folder, name) if os.path.join(folder, name) == path else ("", path)


def texts_at(texts: Sequence[str], positions: Iterable[int]) -> Sequence[str]:
    """The texts at these positions, in their order; of a column they are one."""
    return texts.take(positions) if isinstance(texts, Column) else tuple(texts[i] for i in positions)


class Made(Column[Item]):
    """What is made of the cells of each row of some columns.

    Args:
        make: makes an item of its cells; spawned processes must find it by its name.
        columns: of one length, such as those here.
    """

    def __init__(self, make: Callable[..., Item], *columns: Column[Any]) -> None:
        self.make, self.columns = make, columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def at(self, position: int) -> Item:
        return self.make(*[column.at(position) for column in self.columns])

    def take(self: Own, positions: Iterable[int]) -> Own:
        chosen = Numbers(positions)
        return type(self)(self.make, *[column.take(chosen) for column in self.columns])

    def __iter__(self) -> Iterator[Item]:
        return map(self.make, *self.columns)
