"""The contract of a dataset: where its images lie, what they show, and how one is read."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from neglab.data.sources import GivenSources, ImageSource, Sources
from neglab.data.view import RandomCrop
from neglab.places import Place
from neglab.types import UserError, Words

COLLAPSED = re.compile(r"\w+:/[^/]")  # s3:/bucket: an address that was taken for a path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageList:
    """Images with the index of their class, -1 for images of no ID class; in a fixed order.

    Attributes:
        sources: where each image lies.
        labels: one per image.
        view: what is done to each image before the backbone's transform; None: nothing.
    """

    sources: Sources
    labels: tuple[int, ...]
    view: RandomCrop | None = None

    @classmethod
    def of_files(cls, places: Iterable[Place], labels: Sequence[int]) -> "ImageList":
        """Of files, all on the disk or all in a store."""
        return cls(Sources.of_files(places), tuple(labels))

    @classmethod
    def of(cls, images: Iterable[ImageSource], labels: Sequence[int]) -> "ImageList":
        """Of images that are there already: for sets of thousands, not of millions."""
        return cls(GivenSources(images), tuple(labels))

    def upright(self) -> "ImageList":
        """For images of one's own: files are turned as people see them; benchmarks are read as they were published."""
        return replace(self, sources=self.sources.upright())

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, positions: Sequence[int]) -> "ImageList":
        """The images at these positions, in their order."""
        labels = tuple(self.labels[i] for i in positions)
        return replace(self, sources=self.sources.take(positions), labels=labels)


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
