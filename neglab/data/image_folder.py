"""Images in an ordinary folder, one subfolder per class for an ID dataset."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from neglab.data.base import ImageDataset, ImageList
from neglab.types import UserError, Words

logger = logging.getLogger(__name__)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})


class ImageFolder(ImageDataset):
    """A folder of images.

    Args:
        root: the folder.
        labelled: True: each subfolder of `root`, in sorted order, is one class (an ID dataset). False: all images
            below `root`, of no class (an OOD dataset).
        class_names: with `labelled`, the names in the order of the sorted subfolders: a list, or a text file with one
            name per line. None: the subfolders' names, underscores read as spaces.

    Raises:
        UserError: on first use, for a missing folder, an empty class, or a count of names that does not fit.
    """

    def __init__(self, root: str, labelled: bool, class_names: str | Sequence[str] | None) -> None:
        self.root = Path(root).expanduser()
        self.labelled = labelled
        self._names = class_names

    def class_names(self) -> Words:
        folders = self._class_folders()
        if self._names is None:
            names = [folder.name.replace("_", " ") for folder in folders]
        elif isinstance(self._names, str):
            names = _read_names(Path(self._names).expanduser())
        else:
            names = [str(name) for name in self._names]
        if len(names) != len(folders):
            raise UserError(
                f"There must be one class name per subfolder; got {len(names)} names and {len(folders)} subfolders in "
                f"{self.root}. Mend id_dataset.class_names, or leave it null to use the subfolders' names."
            )
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            # ImageNet's own list has two such pairs, so they are kept.
            logger.warning("These class names stand more than once and are kept: %s", ", ".join(repeated))
        return Words.nouns(names)

    def images(self) -> ImageList:
        if not self.labelled:
            paths = _images_below(_existing(self.root))
            if not paths:
                raise UserError(f"No image found below {self.root}. Known endings: {', '.join(sorted(EXTENSIONS))}.")
            return ImageList.of_files(paths, [-1] * len(paths))
        paths, labels = [], []
        for label, folder in enumerate(self._class_folders()):
            found = _images_below(folder)
            if not found:
                raise UserError(
                    f"Each class must have at least one image; got none in {folder}. Add images, or remove the folder "
                    "and its class name."
                )
            paths += found
            labels += [label] * len(found)
        return ImageList.of_files(paths, labels)

    def _class_folders(self) -> list[Path]:
        folders = sorted(path for path in _existing(self.root).iterdir() if path.is_dir())
        if not folders:
            raise UserError(f"{self.root} must hold one subfolder per class; got none.")
        return folders


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"The image folder must exist; got {root}. Check the path, or set NEGLAB_DATA or paths.data.")
    return root


def _images_below(root: Path) -> list[Path]:
    """All image files at any depth, in the order of their path."""
    found = []
    for folder, _, files in os.walk(root):
        found += [Path(folder, name) for name in files if Path(name).suffix.lower() in EXTENSIONS]
    return sorted(found)


def _read_names(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"The file of class names must exist; got {path}. It holds one name per line.")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; byte {error.start} is not. Save it as UTF-8.") from error
