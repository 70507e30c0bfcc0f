"""The contract of a dataset: where its images lie, what they show, and how one is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from neglab.types import Words


@dataclass(frozen=True)
class ImageList:
    """Images on disk with the index of their class, -1 for images of no ID class; in a fixed order."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


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


def read_image(path: Path, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """One transformed image [3, H, W].

    Raises:
        UnreadableImageError: the file is missing, corrupt, truncated or no picture.
    """
    try:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))
    # Pillow's decoders raise more than OSError on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
