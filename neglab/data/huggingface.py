"""Images of a dataset in the Hugging Face format, from its hub or from disk."""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from neglab.columns import Numbers
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.names import Names, as_class_names, as_words, given_names, numbered, spoken
from neglab.data.sources import ImageSource, MadeSources
from neglab.files import read_bytes
from neglab.types import UserError, Words


@dataclass(frozen=True, eq=False)
class RowImage(ImageSource):
    """The picture of a row.

    Attributes:
        name: of dataset and split.
        rows: the dataset with that one column, its pictures not decoded; the images of a set share it.
        row: which row.
    """

    name: str
    rows: Any
    row: int

    @property
    def key(self) -> str:
        # Of the content: the library's own digest of a set stays the same where it is exported anew.
        try:
            return hashlib.sha256(self._content()).hexdigest()
        except (OSError, ValueError):
            return "unreadable"

    def open(self) -> Image.Image:
        return Image.open(io.BytesIO(self._content()))

    def _content(self) -> bytes:
        (picture,) = self.rows[self.row].values()
        if picture is None:
            raise ValueError("the row has no image")
        return read_bytes(picture["path"]) if picture["bytes"] is None else picture["bytes"]

    def __str__(self) -> str:
        return f"{self.name}/{self.row}"


class HuggingFaceDataset(ImageDataset):
    """A dataset that the `datasets` library loads. Pictures are decoded like those of every other set.

    Args:
        name: a name on the hub, or a folder: one that `save_to_disk` wrote, or any that `load_dataset` takes.
        subset: the dataset's configuration; None: its default.
        split: such as "test", or "test[:1000]" of the hub's.
        image_column: the column of pictures.
        label_column: with `labelled`, the column of class indices or class names.
        labelled: True: an ID dataset. False: images of no class.
        class_names: with `labelled`, the names in the order of their index, given or in a file (see `given_names`).
            None: the dataset's own, underscores read as spaces.
        about: what is known of a published set.

    Raises:
        UserError: on first use, if the library or the dataset is missing, or a column, a label or a name.

    Differs: the library turns pictures by their EXIF tag when it decodes them; here, as in the official codes, they
        are not turned.
    """

    def __init__(
        self,
        name: str,
        subset: str | None,
        split: str,
        image_column: str,
        label_column: str | None,
        labelled: bool,
        class_names: Names,
        about: About | None,
    ) -> None:
        self.name, self.subset, self.split = name, subset, split
        self.image_column, self.label_column = image_column, label_column
        self.labelled, self._names = labelled, class_names
        self.place, self.about = f"{name}, split {split}", about

    def class_names(self) -> Words:
        return as_words(self._labels[1])

    def images(self) -> ImageList:
        library, column = _library(), self._column(self.image_column)
        try:
            rows = self._rows.select_columns([column]).cast_column(column, library.Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:  # Arrow's errors are of these kinds
            raise UserError(f"image_column must hold pictures; got {column} of {self.place}: {error}") from error
        sources = MadeSources(partial(RowImage, f"{self.name}/{self.split}", rows), Numbers(range(len(rows))))
        return self.counted(ImageList(sources, self._labels[0] if self.labelled else (-1,) * len(sources)))

    @cached_property
    def _labels(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The class of each image, and the class names."""
        column = self._column(self.label_column)
        names = given_names(self._names)
        labels = self._rows.select_columns([column])[:][column]
        own = getattr(self._rows.features[column], "names", None)
        if names is None and own is not None:
            names = as_class_names([spoken(name) for name in own], f"column {column} of {self.place}")
        return numbered(labels, names, f"column {column} of {self.place}")

    def _column(self, name: str | None) -> str:
        if name is None or name not in self._rows.column_names:
            raise UserError(
                f"image_column and label_column must be columns of {self.place}; got {name}, and it has "
                f"{', '.join(self._rows.column_names)}."
            )
        return name

    @cached_property
    def _rows(self) -> Any:
        library, folder = _library(), Path(self.name).expanduser()
        saved = [folder / name for name in ("state.json", "dataset_dict.json") if (folder / name).is_file()]
        try:
            if saved:
                loaded = library.load_from_disk(str(folder))
                rows = loaded[self.split] if isinstance(loaded, dict) else loaded
            else:
                place = str(folder) if folder.is_dir() else self.name
                rows = library.load_dataset(place, self.subset, split=self.split)
            return rows.with_format(None)  # a set saved for torch would give tensors for pictures and labels
        except Exception as error:  # the library's own kinds of error, and those of what it loads with
            obtain = f" {self.about.obtain}" if self.about else ""
            raise UserError(
                f"The dataset must be one that `datasets` can load; got {self.place}: {type(error).__name__}: {error}. "
                f"Check name, subset and split.{obtain}"
            ) from error


def _library() -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise UserError("Reading this set needs the library datasets: pip install 'neglab[huggingface]'.") from error
