"""Waterbirds: birds of CUB-200 cut out and put before land or water."""

import csv
from collections.abc import Sequence
from pathlib import Path

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.listed import listed_files, whole_tables
from neglab.data.names import read_lines
from neglab.types import UserError, Words

SPLITS = {"train": "0", "val": "1", "test": "2"}


class Waterbirds(ImageDataset):
    """Land birds (class 0) and water birds (class 1), listed in metadata.csv.

    Args:
        root: the folder with metadata.csv (columns img_filename, y and split) and the images.
        split: "train" (4795 images), "val" (1199), "test" (5794) or "all".
        class_names: of land birds and of water birds, in this order.
        about: what is known of the published set.

    Raises:
        UserError: an unknown split, or, on first use, a missing folder, table or column.
    """

    def __init__(self, root: str, split: str, class_names: Sequence[str], about: About | None) -> None:
        if split not in (*SPLITS, "all"):
            raise UserError(f"The split of Waterbirds must be one of {', '.join(SPLITS)} or all; got {split!r}.")
        self.root, self.split = Path(root).expanduser(), split
        self.place, self.about = str(self.root), about
        self._names = class_names

    def class_names(self) -> Words:
        return Words.nouns([str(name) for name in self._names])

    def images(self) -> ImageList:
        table = self.root / "metadata.csv"
        if not table.is_file():
            raise self.missing("metadata.csv of Waterbirds must lie in its folder")
        rows = list(csv.DictReader(read_lines(table)))
        if lacking := {"img_filename", "y", "split"} - set(rows[0] if rows else ()):
            raise UserError(
                f"{table} must have the columns img_filename, y and split; {', '.join(sorted(lacking))} lack."
            )
        wanted = SPLITS.values() if self.split == "all" else (SPLITS[self.split],)
        with whole_tables(self.root):
            listed = [(self.root / row["img_filename"], int(row["y"])) for row in rows if row["split"] in wanted]
        return listed_files(self, listed)
