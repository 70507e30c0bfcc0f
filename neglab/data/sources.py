"""Where the images of a set lie: columns, of which an image is made when it is asked for."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate, chain
from operator import methodcaller
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

from neglab.columns import Column, Made, Numbers, PathTexts
from neglab.data.pictures import as_rgb, is_turned, plain_jpeg, upright
from neglab.files import check_regular
from neglab.places import Place, RemotePath, packed


class ImageSource(ABC):
    """One picture, wherever it lies. `str` of it is its name in tables."""

    @property
    def origin(self) -> Path | None:
        """The file on the disk whose content decides the picture; None where `key` alone does."""
        return None

    @property
    @abstractmethod
    def key(self) -> str:
        """Which picture of its origin it is, or a digest of its content."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The picture as it is stored. Errors are those of Pillow and of the file system."""

    def rgb(self) -> Image.Image:
        """The picture as a transform takes it. Errors are those of `open`, and ValueError for an unknown range."""
        with self.open() as image:
            return as_rgb(image)

    def jpeg_or_rgb(self) -> bytes | Image.Image:
        """The file, where that is a JPEG that a device can decode to `rgb`; otherwise `rgb`, whose errors it has."""
        with self.open() as image:
            return plain_jpeg(image) or as_rgb(image)

    def upright(self) -> "ImageSource":
        """The picture as people see it: a file is turned as its EXIF orientation says."""
        return self


@dataclass(frozen=True)
class ImageFile(ImageSource):
    """A file that is one picture."""

    path: Place

    @property
    def origin(self) -> Path | None:
        return self.path if isinstance(self.path, Path) else None

    @property
    def key(self) -> str:
        return "" if isinstance(self.path, Path) else self.path.key

    def open(self) -> Image.Image:
        if isinstance(self.path, RemotePath):
            return Image.open(BytesIO(self.path.read()))
        check_regular(self.path)
        return Image.open(self.path)

    def upright(self) -> ImageSource:
        return Photo(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Photo(ImageFile):
    """A file that is one picture, turned as its EXIF orientation says: as people see it."""

    @property
    def key(self) -> str:
        return f"{super().key} upright".strip()

    def rgb(self) -> Image.Image:
        with self.open() as image:
            return as_rgb(upright(image))

    def jpeg_or_rgb(self) -> bytes | Image.Image:
        with self.open() as image:
            return (None if is_turned(image) else plain_jpeg(image)) or as_rgb(upright(image))


class Sources(Column[ImageSource]):
    """The images of a set, in a fixed order."""

    @classmethod
    def of_files(cls, places: Iterable[Place]) -> "Sources":
        """Pictures that are a file each, all on the disk or all in a store."""
        files = packed(places)
        return DiskFiles(_file_at, files.texts) if files.make is Path else MadeSources(ImageFile, files)

    @abstractmethod
    def take(self, positions: Iterable[int]) -> "Sources": ...

    @property
    def names(self) -> Column[str]:
        """Where each image lies, for tables."""
        return Made(str, self)

    def named(self, names: Iterable[str]) -> dict[str, ImageSource]:
        """Those of these names."""
        wanted = {*names}
        return {name: self.at(position) for position, name in enumerate(self.names) if name in wanted}

    def upright(self) -> "Sources":
        """Each as people see it."""
        return MadeSources(methodcaller("upright"), self)

    def files(self) -> tuple[PathTexts, Int64[np.ndarray, " N"] | None]:
        """The files on the disk that hold the pictures, each once, and the number of each picture's: -1 has none.

        None: picture i is file i.
        """
        number_of: dict[Path | None, int] = {None: -1}
        numbers = (number_of.setdefault(source.origin, len(number_of) - 1) for source in self)
        found = np.fromiter(numbers, np.int64, len(self))
        return PathTexts.of(path for path in number_of if path is not None), found

    def keys(self, start: int, end: int) -> Sequence[str]:
        """The keys of these images, of which there is one at least."""
        return [source.key for source in self[start:end]]


class MadeSources(Made[ImageSource], Sources):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Images that are made of the cells of each row of some columns."""


class GivenSources(Sources):
    """Images that are there already, an object each."""

    def __init__(self, images: Iterable[ImageSource]) -> None:
        self._images = tuple(images)

    def __len__(self) -> int:
        return len(self._images)

    def at(self, position: int) -> ImageSource:
        return self._images[position]

    def take(self, positions: Iterable[int]) -> "GivenSources":
        return GivenSources(map(self.at, positions))


class DiskFiles(MadeSources):
    """Pictures that are a file of the disk each; `make` is given its path. What they share is told without them."""

    @property
    def names(self) -> PathTexts:
        return self.columns[0]  # pyright: ignore[reportReturnType]

    def upright(self) -> "DiskFiles":
        return DiskFiles(_photo_at, self.names)

    def files(self) -> tuple[PathTexts, Int64[np.ndarray, " N"] | None]:
        return super().files() if self.names.have_repeats() else (self.names, None)

    def keys(self, start: int, end: int) -> Sequence[str]:
        return [self.at(start).key] * (end - start)


class JoinedSources(Sources):
    """The images of several sets, one set after another."""

    def __init__(self, parts: Sequence[Sources]) -> None:
        self.parts, self.starts = parts, [0, *accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self.starts[-1]

    def at(self, position: int) -> ImageSource:
        part = bisect_right(self.starts, position) - 1
        return self.parts[part].at(position - self.starts[part])

    def take(self, positions: Iterable[int]) -> Sources:
        return MadeSources(self.at, Numbers(positions))

    def __iter__(self) -> Iterator[ImageSource]:
        return chain.from_iterable(self.parts)

    def upright(self) -> "JoinedSources":
        return JoinedSources([part.upright() for part in self.parts])

    def files(self) -> tuple[PathTexts, Int64[np.ndarray, " N"] | None]:
        found = [part.files() for part in self.parts]
        files = PathTexts(chain.from_iterable(texts.pairs() for texts, _ in found))
        if files.have_repeats():
            return super().files()
        numbers, first = [np.empty(0, dtype=np.int64)], 0
        for texts, own in found:
            own = np.arange(len(texts)) if own is None else own
            numbers.append(np.where(own < 0, -1, own + first))
            first += len(texts)
        return files, np.concatenate(numbers)


def _file_at(path: str) -> ImageFile:
    return ImageFile(Path(path))


def _photo_at(path: str) -> Photo:
    return Photo(Path(path))
