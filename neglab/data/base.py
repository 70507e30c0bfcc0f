"""The contract of a dataset: where its images lie, what they show, and how one is read."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image
from torch import Tensor

from neglab.columns import PathTexts, View
from neglab.data.pictures import as_rgb, is_turned, plain_jpeg, upright
from neglab.data.view import RandomCrop
from neglab.files import check_regular
from neglab.places import Place, RemotePath
from neglab.types import UserError, Words

COLLAPSED = re.compile(r"\w+:/[^/]")  # s3:/bucket: an address that was taken for a path

logger = logging.getLogger(__name__)


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


def file_at(text: str) -> ImageFile:
    """The picture that is the file of this path."""
    return ImageFile(Path(text))


def photo_at(text: str) -> Photo:
    """The photo that is the file of this path."""
    return Photo(Path(text))


@dataclass(frozen=True)
class ImageList:
    """Images with the index of their class, -1 for images of no ID class; in a fixed order.

    Attributes:
        sources: where each image lies.
        labels: one per image.
        view: what is done to each image before the backbone's transform; None: nothing.
    """

    sources: Sequence[ImageSource]
    labels: tuple[int, ...]
    view: RandomCrop | None = None

    @classmethod
    def of_files(cls, paths: Sequence[Place], labels: Sequence[int]) -> "ImageList":
        """Of files; those on the disk are kept as a column."""
        if all(isinstance(path, RemotePath) for path in paths[:1]):
            return cls(tuple(map(ImageFile, paths)), tuple(labels))
        texts = paths.texts if isinstance(paths, View) else PathTexts.of(map(str, paths))
        return cls(View(texts, file_at), tuple(labels))

    def upright(self) -> "ImageList":
        """For images of one's own: files are turned as people see them; benchmarks are read as they were published."""
        if isinstance(self.sources, View):
            return replace(self, sources=View(self.sources.texts, photo_at))
        sources = (Photo(source.path) if isinstance(source, ImageFile) else source for source in self.sources)
        return replace(self, sources=tuple(sources))

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def names(self) -> Sequence[str]:
        """Where each image lies, for tables."""
        return self.sources.texts if isinstance(self.sources, View) else tuple(map(str, self.sources))

    def take(self, positions: Sequence[int]) -> "ImageList":
        """The images at these positions, in their order."""
        sources = self.sources
        chosen = sources.take(positions) if isinstance(sources, View) else tuple(sources[i] for i in positions)
        return replace(self, sources=chosen, labels=tuple(self.labels[i] for i in positions))

    def files(self) -> tuple[PathTexts, Int64[np.ndarray, " N"] | None]:
        """The files on the disk that hold the pictures, each once, and the number of each picture's: -1 has none.

        None: picture i is file i.
        """
        if isinstance(self.sources, View) and not self.sources.texts.have_repeats():
            return self.sources.texts, None
        number_of: dict[Path | None, int] = {None: -1}
        numbers = [number_of.setdefault(source.origin, len(number_of) - 1) for source in self.sources]
        return PathTexts.of(path for path in number_of if path is not None), np.array(numbers, dtype=np.int64)

    def keys(self, start: int, end: int) -> Sequence[str]:
        """The keys of these images, of which there is one at least. All files of a column have one."""
        if isinstance(self.sources, View):
            return [self.sources[start].key] * (end - start)
        return [source.key for source in self.sources[start:end]]


@dataclass(frozen=True)
class About:
    """What is known of a published set.

    Attributes:
        num_images: how many it holds; None where that is not fixed.
        obtain: where it comes from and how it must lie, in a sentence.
        licence: what its owners allow, in a few words.
    """

    num_images: int | None
    obtain: str
    licence: str


class ImageDataset(ABC):
    """A set of images. Only the ID dataset is asked for class names.

    Attributes:
        about: what is known of a published set.
        place: where it is looked for, as a person would say it.
    """

    about: About | None = None
    place: str = ""

    @abstractmethod
    def class_names(self) -> Words:
        """The ID classes, in the order of their index."""

    @abstractmethod
    def images(self) -> ImageList:
        """All images, in a fixed order.

        Raises:
            UserError: the place is missing or empty.
        """

    def look(self) -> None:
        """List the images now, for `listing` to hand on: what is missing is said before anything slow begins."""
        vars(self)["_listed"] = self.images()

    def listing(self) -> ImageList:
        """`images`, or what the last `look` found; a long list is not kept any longer."""
        return vars(self).pop("_listed", None) or self.images()

    def counted(self, images: ImageList) -> ImageList:
        """The same images, after a warning if they are not as many as the published set holds."""
        expected = self.about.num_images if self.about else None
        if expected is not None and len(images) != expected:
            logger.warning(
                "%s must hold %d images to be the published set; got %d. Is it another split, or half extracted?",
                self.place,
                expected,
                len(images),
            )
        return images

    def class_keys(self) -> Sequence[str]:
        """What each class is called where its images lie, such as its folder; empty where that is its index or name."""
        return ()

    def extent(self) -> Sequence[Place]:
        """Folders and files all of whose images are in the set; empty where they may hold others too."""
        return ()

    def missing(self, rule: str) -> UserError:
        """What to raise where `place` is not as the rule says it must be."""
        obtain = f" {self.about.obtain}" if self.about else ""
        if COLLAPSED.match(self.place):
            obtain = f" Only image_folder, image_list and webdataset read addresses.{obtain}"
        return UserError(
            f"{rule}; got {self.place}. Set id_dataset.root or ood_datasets.NAME.root to where it is, or NEGLAB_DATA "
            f"to the folder of all sets.{obtain}"
        )


def check_apart(id_dataset: ImageDataset, ood_datasets: Mapping[str, ImageDataset]) -> None:
    """Raise a UserError where an OOD set takes its images from where the ID set does."""
    own = {path.resolve() for path in id_dataset.extent()}
    for name, dataset in ood_datasets.items():
        for place in (path.resolve() for path in dataset.extent()):
            if inner := [_inner(place, path) for path in own if _inner(place, path)]:
                raise UserError(
                    f"An image is in distribution or out of it; all those in {inner[0]} are in the ID set and in the "
                    f"OOD set {name}. Set the root or the folders of one of them to another place."
                )


def _inner(first: Place, second: Place) -> Place | None:
    """That of two places which lies in the other; None: neither does."""
    for inner, outer in ((first, second), (second, first)):
        if outer == inner or outer in inner.parents:
            return inner
    return None


# Pillow's decoders raise more than OSError on damaged files.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class UnreadableImageError(Exception):
    """A file that is not a whole picture; the message says why."""


def read_image(source: ImageSource, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """One transformed image [3, H, W]. A damaged or truncated one is never filled up.

    Raises:
        UnreadableImageError: the file is missing, corrupt, truncated, no picture, or of no known range.
    """
    with unreadable_said():
        return transform(source.rgb())


def read_undecoded(source: ImageSource, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """The bytes [N] of a JPEG file that a device can decode; of any other picture `read_image`, whose errors it has."""
    with unreadable_said():
        found = source.jpeg_or_rgb()
        return torch.frombuffer(bytearray(found), dtype=torch.uint8) if isinstance(found, bytes) else transform(found)


@contextmanager
def unreadable_said() -> Iterator[None]:
    """Turns the errors of a damaged picture into an UnreadableImageError."""
    try:
        yield
    except UNREADABLE as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
