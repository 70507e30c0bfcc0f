"""The public sets that torchvision reads and fetches."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from PIL import Image

from neglab.columns import Numbers
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.names import Names, as_words, given_names, spoken
from neglab.data.sources import ImageSource, MadeSources, Sources
from neglab.types import UserError, Words


@dataclass(frozen=True, eq=False)
class ArrayImage(ImageSource):
    """A picture in memory.

    Attributes:
        name: of its set.
        pixels: [N, H, W] or [N, H, W, 3], uint8, of all pictures of the set, which share them.
        number: which of them it is.
    """

    name: str
    pixels: np.ndarray
    number: int

    @property
    def key(self) -> str:
        own = self.pixels[self.number]
        return f"{own.shape} {hashlib.sha256(own.tobytes()).hexdigest()}"

    def open(self) -> Image.Image:
        return Image.fromarray(self.pixels[self.number])

    def __str__(self) -> str:
        return f"{self.name}/{self.number:06d}"


class TorchvisionDataset(ImageDataset):
    """A set that torchvision.datasets reads.

    Args:
        name: of torchvision's class, such as "CIFAR10".
        root: the folder that torchvision's class is given.
        options: the class's own arguments, such as {"train": False} or {"split": "test"}.
        download: fetch the set where it is missing.
        labelled: True: an ID dataset. False: images of no class.
        class_names: the names of all classes of the set, in the order of their index: a list, or a file with one name
            per line. None: torchvision's, underscores read as spaces.
        classes: only these classes, by name or index, which become classes 0, 1, ... in this order. None: all.
        about: what is known of the set.

    Raises:
        UserError: on first use, if the set is missing or cannot be fetched, or a class is unknown.
    """

    def __init__(
        self,
        name: str,
        root: str,
        options: Mapping[str, Any],
        download: bool,
        labelled: bool,
        class_names: Names,
        classes: Sequence[str | int] | None,
        about: About | None,
    ) -> None:
        if not inspect.isclass(getattr(torchvision.datasets, name, None)):
            raise UserError(f"name must be a class of torchvision.datasets; got {name!r}.")
        self.name, self.root, self.options = name, Path(root).expanduser(), dict(options)
        self.download, self.labelled = download, labelled
        self._names, self._classes = class_names, classes
        self.place, self.about = str(self.root), about

    def class_names(self) -> Words:
        return as_words([self._all_names[position] for position in self._kept])

    def images(self) -> ImageList:
        sources, labels = self._pictures
        images = ImageList(sources, labels)
        if self._classes is not None:
            place = {old: new for new, old in enumerate(self._kept)}
            images = images.take([i for i, label in enumerate(labels) if label in place])
            images = replace(images, labels=tuple(place[label] for label in images.labels))
        return self.counted(images if self.labelled else replace(images, labels=(-1,) * len(images)))

    @cached_property
    def _all_names(self) -> list[str]:
        own = getattr(self._loaded, "classes", None)
        names = given_names(self._names)
        if names is None:
            if own is None:
                raise UserError(f"torchvision's {self.name} names no classes. Set class_names to their list or file.")
            return [spoken(name) for name in own]
        if len(names) != (count := len(own) if own is not None else max(self._pictures[1]) + 1):
            raise UserError(f"class_names must name all {count} classes of {self.name}; got {len(names)} names.")
        return names

    @cached_property
    def _kept(self) -> list[int]:
        """The classes in the order of their new index."""
        if self._classes is None:
            return list(range(len(self._all_names)))
        names = self._all_names
        number = {name: i for i, name in enumerate(names)} | {i: i for i in range(len(names))}
        kept = [number.get(spoken(chosen) if isinstance(chosen, str) else chosen) for chosen in self._classes]
        if strange := [chosen for chosen, found in zip(self._classes, kept, strict=True) if found is None]:
            raise UserError(
                f"classes must be names or indices among the {len(names)} classes of {self.name}; got {strange[0]!r}. "
                f"The names begin with {', '.join(names[:5])}."
            )
        return [found for found in kept if found is not None]

    @cached_property
    def _pictures(self) -> tuple[Sources, tuple[int, ...]]:
        return _sources_and_labels(self._loaded, self.name)

    @cached_property
    def _loaded(self) -> Any:
        kind, wish = getattr(torchvision.datasets, self.name), "be fetched with data.download=true"
        try:
            return kind(str(self.root), **self.options, download=False)
        except (RuntimeError, OSError) as error:
            reason = error
        except ImportError as error:
            raise UserError(f"torchvision's {self.name} needs {error.name}: pip install {error.name}.") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"torchvision's {self.name} refuses options={self.options}: {error}") from error
        if self.download:
            try:
                return kind(str(self.root), **self.options, download=True)
            except (RuntimeError, OSError, ValueError) as error:  # ValueError: torchvision fetches it no more
                reason, wish = error, "be reachable on the web"
        raise self.missing(f"torchvision's {self.name} must be there, or {wish} ({reason})") from reason


def _sources_and_labels(dataset: Any, name: str) -> tuple[Sources, tuple[int, ...]]:
    """The pictures of a torchvision set and their classes, by the attributes in which its classes keep them."""

    def first(*attributes: str) -> Any:
        return next((getattr(dataset, name) for name in attributes if hasattr(dataset, name)), None)

    if (pairs := first("samples", "_samples")) is not None:
        paths, labels = zip(*pairs, strict=True)
    else:
        paths, labels = first("_image_files", "_images"), first("targets", "labels", "_labels")
    if paths is not None:
        return Sources.of_files(map(Path, paths)), tuple(map(int, labels))
    pixels = np.asarray(first("data"))
    if labels is None or pixels.dtype != np.uint8:
        raise UserError(f"torchvision's {name} keeps neither files nor pixels. Read its images with image_folder.")
    if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL10 put the colours first
        pixels = pixels.transpose(0, 2, 3, 1)
    return MadeSources(partial(ArrayImage, name, pixels), Numbers(range(len(pixels)))), tuple(map(int, labels))
