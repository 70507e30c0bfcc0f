"""ImageNet's classes under many conditions: ImageNet-C's corruptions, ImageNet-ES's lights and cameras."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.image_folder import images_in
from neglab.data.listed import listed_files
from neglab.data.names import WNID, Names, as_words, given_names, read_lines
from neglab.data.wnids import wnid_names
from neglab.places import Places, packed
from neglab.types import UserError, Words


class ImageNetConditions(ImageDataset):
    """Images below folders of conditions, such as gaussian_noise/3/n01440764/NAME.JPEG.

    An image's class is the folder that holds it, a WordNet id. The classes are those found, in the order of their id.

    Args:
        root: the folder of all conditions.
        folders: only these folders of conditions, such as gaussian_noise/3 or fog: a list, or a file of one. None: all.
        list_path: a text file of the images that are taken, their paths from `root` and whatever stands behind them;
            OpenOOD's lists are such. None: all below `folders`.
        about: what is known of the published set.

    Raises:
        UserError: on first use, for a missing folder or list, an image in no folder of a class, or an unknown class.

    Source: Hendrycks and Dietterich, ICLR 2019 (ImageNet-C); Baek et al., CVPR 2024 (ImageNet-ES).
    """

    def __init__(self, root: str, folders: Names, list_path: str | None, about: About | None) -> None:
        self.root = Path(root).expanduser()
        self.list_path = None if list_path is None else Path(list_path).expanduser()
        self.place, self.about = str(self.root), about
        self._folders = folders

    def class_names(self) -> Words:
        names = wnid_names(self.class_keys())
        if names is None:
            raise UserError(
                f"Folders of classes must be WordNet ids that WordNet knows; {self.root} holds others. Leave them out "
                "with id_dataset.folders."
            )
        return as_words(names)

    def class_keys(self) -> Sequence[str]:
        return sorted({*map(os.path.basename, self._paths.texts.folders)})

    def extent(self) -> Sequence[Path]:
        return [self.root] if self.list_path is None and self._folders is None else []

    def images(self) -> ImageList:
        label_of = {wnid: label for label, wnid in enumerate(self.class_keys())}
        labels = (label_of[os.path.basename(folder)] for folder, _ in self._paths.texts.pairs())
        return listed_files(self, zip(self._paths, labels, strict=True))

    @cached_property
    def _paths(self) -> Places:
        if not self.root.is_dir():
            raise self.missing("The folder of the conditions must exist")
        paths = self._below_folders() if self.list_path is None else self._listed(self.list_path)
        texts = paths.texts
        is_class = {folder: WNID.fullmatch(os.path.basename(folder)) for folder in texts.folders}
        if strange := next((os.path.join(*pair) for pair in texts.pairs() if not is_class[pair[0]]), None):
            raise UserError(
                f"Each image must lie in a folder named by the WordNet id of its class; {strange} does not. Set "
                "id_dataset.folders to the folders of conditions that are wanted."
            )
        return paths

    def _below_folders(self) -> Places:
        wanted = given_names(self._folders)
        places = [self.root] if wanted is None else [self.root / name for name in wanted]
        if absent := [place for place in places if not place.is_dir()]:
            raise self.missing(f"Every folder of conditions that is asked for must exist, which {absent[0]} does not")
        paths, _ = images_in(places)
        if not paths:
            raise self.missing("The folders of the conditions must hold images")
        return paths

    def _listed(self, list_path: Path) -> Places:
        if not list_path.is_file():
            raise self.missing(f"The list of images must exist, which {list_path} does not")
        return packed(self.root / line.split()[0] for line in read_lines(list_path))
