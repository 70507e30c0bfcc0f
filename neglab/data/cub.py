"""CUB-200-2011, as its archive unpacks."""

from pathlib import Path

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.listed import listed_files, whole_tables
from neglab.data.names import read_lines, spoken
from neglab.types import UserError, Words

SPLITS = ("train", "test", "all")


class CUB200(ImageDataset):
    """200 species of birds.

    The class names are those of classes.txt without their number, underscores read as spaces ("Black footed
    Albatross"), as in MCM. NegLabel, CSP and NegRefine keep the underscores.

    Args:
        root: the folder CUB_200_2011 with images.txt, image_class_labels.txt, train_test_split.txt and classes.txt.
        split: "train" (5994 images), "test" (5794) or "all".
        about: what is known of the published set.

    Raises:
        UserError: an unknown split, or, on first use, a missing or damaged folder or list.
    """

    def __init__(self, root: str, split: str, about: About | None) -> None:
        if split not in SPLITS:
            raise UserError(f"The split of CUB-200 must be one of {', '.join(SPLITS)}; got {split!r}.")
        self.root, self.split = Path(root).expanduser(), split
        self.place, self.about = str(self.root), about

    def class_names(self) -> Words:
        return Words.nouns([spoken(folder.partition(".")[2]) for folder in self._table("classes.txt")])

    def images(self) -> ImageList:
        columns = map(self._table, ("images.txt", "image_class_labels.txt", "train_test_split.txt"))
        with whole_tables(self.root):
            rows = [
                (self.root / "images" / name, int(label) - 1)
                for name, label, is_train in zip(*columns, strict=True)
                if self.split == "all" or (is_train == "1") == (self.split == "train")
            ]
        return listed_files(self, rows)

    def _table(self, name: str) -> list[str]:
        """The second column of a list; the first numbers its lines."""
        if not self.root.is_dir():
            raise self.missing("The folder CUB_200_2011 must exist")
        return [line.partition(" ")[2] for line in read_lines(self.root / name)]
