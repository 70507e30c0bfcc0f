"""The contract of a dataset: where its images lie, what they show, and how one is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from neglab.data.view import RandomCrop
from neglab.types import Words


class ImageSource(ABC):
    """One picture, wherever it lies. `str` of it is its name in tables."""

    @property
    @abstractmethod
    def origin(self) -> Path | None:
        """The file whose content decides the picture; None where `key` alone does."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Which picture of its origin it is, or a digest of its content."""

    @abstractmethod
    def open(self) -> Image.Image:
        """The picture as it is stored. Errors are those of Pillow and of the file system."""


@dataclass(frozen=True)
class ImageFile(ImageSource):
    """A file that is one picture."""

    path: Path

    @property
    def origin(self) -> Path:
        return self.path

    @property
    def key(self) -> str:
        return ""

    def open(self) -> Image.Image:
        return Image.open(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class ImageList:
    """Images with the index of their class, -1 for images of no ID class; in a fixed order.

    Attributes:
        sources: where each image lies.
        labels: one per image.
        view: what is done to each image before the backbone's transform; None: nothing.
    """

    sources: tuple[ImageSource, ...]
    labels: tuple[int, ...]
    view: RandomCrop | None = None

    @classmethod
    def of_files(cls, paths: Sequence[Path], labels: Sequence[int]) -> "ImageList":
        return cls(tuple(map(ImageFile, paths)), tuple(labels))

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, positions: Sequence[int]) -> "ImageList":
        """The images at these positions, in their order."""
        sources, labels = (tuple(values[i] for i in positions) for values in (self.sources, self.labels))
        return replace(self, sources=sources, labels=labels)


class ImageDataset(ABC):
    """A set of images. Only the ID dataset is asked for class names."""

    @abstractmethod
    def class_names(self) -> Words:
        """The ID classes, in the order of their index."""

    @abstractmethod
    def images(self) -> ImageList:
        """All images, in a fixed order.

        Raises:
            UserError: the place is missing or empty.
        """


class UnreadableImageError(Exception):
    """A file that is not a whole picture; the message says why."""


def read_image(source: ImageSource, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """One transformed image [3, H, W].

    Raises:
        UnreadableImageError: the file is missing, corrupt, truncated or no picture.
    """
    try:
        with source.open() as image:
            return transform(image.convert("RGB"))
    # Pillow's decoders raise more than OSError on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
