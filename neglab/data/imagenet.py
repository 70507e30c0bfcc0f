"""Images of ImageNet classes: any subset of the 1000 by WordNet id, from one folder, without copying."""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from neglab.columns import Numbers
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.image_folder import images_below, images_in, labels_of
from neglab.data.listed import whole_tables
from neglab.data.names import Names, given_names, read_lines, synsets_of
from neglab.data.wnids import BY_INDEX, NAMES, WNIDS
from neglab.places import Places
from neglab.types import UserError, Words

LABEL_LISTS = ("val.txt", "LOC_val_solution.csv", "ILSVRC2012_devkit_t12")


class ImageNetFolder(ImageDataset):
    """ImageNet, a subset of its classes, or a set with classes of it (ImageNet-V2, -A, -R, -Sketch).

    Class names are open_clip's ImageNet list, which the papers use: 998 distinct of 1000.

    Args:
        root: a folder with one subfolder per class, named by WordNet id ("n01440764") or, as in ImageNet-V2, by the
            index of the class ("0" to "999"). Or all images in one folder, as the validation archive unpacks.
        wnids: the classes, in the order of their index: a list, or a text file with one per line. None: all 1000.
        label_list: what says the classes of images in one folder, and which images are taken: lines
            "ILSVRC2012_val_00000001.JPEG 65" with the index or the WordNet id (so OpenOOD's lists too), Kaggle's
            LOC_val_solution.csv, or the folder of the development kit. None: subfolders say the classes,
            else what has the usual name of such a list in `root` or in the folder above it.
        labelled: True: an ID dataset. False: the same images of no class (an OOD dataset).
        about: what is known of the published set.

    Raises:
        UserError: on first use, for a missing folder or list, an unknown class, or a class without images.
    """

    def __init__(self, root: str, wnids: Names, label_list: str | None, labelled: bool, about: About | None) -> None:
        self.root = Path(root).expanduser()
        self.place, self.about = str(self.root), about
        self.labelled = labelled
        self._wnids, self._label_list = wnids, label_list

    def class_names(self) -> Words:
        wnids = self.wnids()
        return Words.nouns([NAMES[wnid] for wnid in wnids], synsets_of(wnids))

    def images(self) -> ImageList:
        if not self.root.is_dir():
            raise self.missing("The folder of ImageNet's images must exist")
        wnids = self.wnids()
        subfolders = {path.name for path in self.root.iterdir() if path.is_dir()}
        if self._label_list or subfolders.isdisjoint((*WNIDS, "0")):
            paths, counts = self._by_label_list(wnids)
        else:
            paths, counts = self._by_subfolder(wnids, subfolders)
        if absent := [wnid for wnid, count in zip(wnids, counts, strict=True) if not count]:
            raise UserError(
                f"Each class must have images; {len(absent)} of {len(wnids)} have none in {self.root}, such as "
                f"{absent[0]} ({NAMES[absent[0]]}). Was the archive extracted in part? Extract it again."
            )
        return self.counted(ImageList.of_files(paths, labels_of(counts, self.labelled)))

    def class_keys(self) -> Sequence[str]:
        return self.wnids()

    def wnids(self) -> tuple[str, ...]:
        """The classes, in the order of their index."""
        wnids = given_names(self._wnids)
        if wnids is None:
            return WNIDS
        if unknown := [wnid for wnid in wnids if wnid not in NAMES]:
            raise UserError(
                f"wnids must be WordNet ids of ImageNet-1K's classes, such as {WNIDS[0]}; got {unknown[0]!r}. "
                "Mend the list."
            )
        return tuple(wnids)

    def _by_subfolder(self, wnids: Sequence[str], subfolders: set[str]) -> tuple[Places, list[int]]:
        """The images, class by class, and how many each has."""
        names = [wnid if wnid in subfolders else str(WNIDS.index(wnid)) for wnid in wnids]
        there = [name for name in names if name in subfolders]
        paths, counts = images_in([self.root / name for name in there])
        count_of = dict(zip(there, counts, strict=True))
        return paths, [count_of.get(name, 0) for name in names]

    def _by_label_list(self, wnids: Sequence[str]) -> tuple[Places, list[int]]:
        """The listed images, class by class, and how many each has."""
        label_list = Path(self._label_list).expanduser() if self._label_list else self._usual_label_list()
        wnid_of = dict(_read_labels(label_list))
        paths, members = images_below(self.root), {wnid: Numbers() for wnid in WNIDS}
        for position, (_, name) in enumerate(paths.texts.pairs()):
            if wnid := wnid_of.get(os.path.splitext(name)[0]):
                members[wnid].append(position)
        own = [members[wnid] for wnid in wnids]
        return paths.take(chain.from_iterable(own)), list(map(len, own))

    def _usual_label_list(self) -> Path:
        places = [folder / name for folder in (self.root, self.root.parent) for name in LABEL_LISTS]
        if found := next((place for place in places if place.exists()), None):
            return found
        raise UserError(
            f"{self.root} must hold one subfolder per class, named by WordNet id; got none. If its images lie in one "
            f"folder, put one of {', '.join(LABEL_LISTS)} beside it, or name the list with id_dataset.label_list."
        )


def _read_labels(label_list: Path) -> Iterator[tuple[str, str]]:
    """File name without its ending, and WordNet id, of each listed image."""
    if label_list.is_dir():
        yield from _read_development_kit(label_list)
        return
    for line in read_lines(label_list):
        name, label = [*re.split(r"[\s,]+", line), ""][:2]
        if label == "PredictionString":  # the heading of Kaggle's list
            continue
        label = BY_INDEX.get(label.lstrip("0") or "0", label)
        if label not in NAMES:
            raise UserError(
                f"Each line of {label_list} must be a file name and its class, an index from 0 to 999 or a WordNet "
                f"id; got {line!r}."
            )
        yield Path(name).stem, label


def _read_development_kit(kit: Path) -> Iterator[tuple[str, str]]:
    """The labels in ILSVRC 2012's development kit, which numbers the classes in an order of its own."""
    from scipy.io import loadmat  # slow to import
    from scipy.io.matlab import MatReadError

    numbers = read_lines(kit / "data" / "ILSVRC2012_validation_ground_truth.txt")
    with whole_tables(kit, MatReadError):
        synsets = loadmat(str(kit / "data" / "meta.mat"), squeeze_me=True)["synsets"]
        pairs = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        wnid_of = {int(number): str(wnid) for number, wnid in pairs}
        for position, number in enumerate(numbers, start=1):
            yield f"ILSVRC2012_val_{position:08d}", wnid_of[int(number)]
