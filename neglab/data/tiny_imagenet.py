"""TinyImageNet: 200 classes of ImageNet in pictures of 64 by 64 pixels."""

from pathlib import Path

from neglab.data.archive import fetch
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.image_folder import images_by_folder, labels_of
from neglab.data.listed import listed_files, whole_tables
from neglab.data.names import read_lines, synsets_of
from neglab.types import UserError, Words

SPLITS = ("train", "val")
ARCHIVE, MD5 = "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"


class TinyImageNet(ImageDataset):
    """TinyImageNet as its archive unpacks; classes in the order of their WordNet ids.

    A class is named by the first of its names in words.txt.

    Args:
        root: the folder tiny-imagenet-200.
        split: "train" (train/<WordNet id>/images) or "val" (val/images, labelled by val_annotations.txt). The test
            images have no labels.
        labelled: True: an ID dataset. False: the same images of no class (an OOD dataset).
        download: fetch and extract the archive where the folder is missing.
        about: what is known of the published set.

    Raises:
        UserError: an unknown split; on first use, a missing folder or list, or a failed download.
    """

    def __init__(self, root: str, split: str, labelled: bool, download: bool, about: About | None) -> None:
        if split not in SPLITS:
            raise UserError(f"The split of TinyImageNet must be one of {', '.join(SPLITS)}; got {split!r}.")
        self.root, self.split = Path(root).expanduser(), split
        self.place, self.about = str(self.root), about
        self.labelled, self.download = labelled, download

    def class_names(self) -> Words:
        wnids = self._wnids()
        with whole_tables(self.root):
            names = dict(line.split("\t", 1) for line in read_lines(self.root / "words.txt"))
            return Words.nouns([names[wnid].split(",")[0] for wnid in wnids], synsets_of(wnids))

    def images(self) -> ImageList:
        label_of = {wnid: label for label, wnid in enumerate(self._wnids())}
        if self.split == "train":
            paths, counts = images_by_folder([self.root / "train" / wnid / "images" for wnid in label_of])
            rows = zip(paths, labels_of(counts), strict=True)
        else:
            listed = [line.split("\t") for line in read_lines(self.root / "val" / "val_annotations.txt")]
            with whole_tables(self.root):
                rows = [(self.root / "val" / "images" / name, label_of[wnid]) for name, wnid, *_ in listed]
        return listed_files(self, ((path, label if self.labelled else -1) for path, label in rows))

    def _wnids(self) -> list[str]:
        if self.download:
            fetch(self.root, ARCHIVE, MD5)
        if not self.root.is_dir():
            raise self.missing("The folder tiny-imagenet-200 must exist")
        return sorted(read_lines(self.root / "wnids.txt"))
