"""Images in an ordinary folder, one subfolder per class for an ID dataset."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.names import as_words, given_names, spoken
from neglab.data.pictures import EXTENSIONS, is_picture
from neglab.types import UserError, Words

logger = logging.getLogger(__name__)

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".7z", ".rar")


class ImageFolder(ImageDataset):
    """A folder of images.

    Args:
        root: the folder.
        labelled: True: each subfolder of `root`, in sorted order, is one class (an ID dataset). False: all images
            below `root`, of no class (an OOD dataset).
        class_names: with `labelled`, the names in the order of the subfolders: a list, or a text file with one name
            per line. None: the subfolders' names, underscores read as spaces.
        folders: only these subfolders, in this order: a list, or a text file with one name per line. None: all.
        about: what is known of a published set.

    Raises:
        UserError: on first use, for a missing folder, an empty class, or a count of names that does not fit.
    """

    def __init__(
        self,
        root: str,
        labelled: bool,
        class_names: str | Sequence[str] | None,
        folders: str | Sequence[str] | None,
        about: About | None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.place, self.about = str(self.root), about
        self.labelled = labelled
        self._names, self._folders = class_names, folders

    def class_names(self) -> Words:
        folders = self._subfolders()
        names = given_names(self._names)
        if names is None:
            names = [spoken(folder.name) for folder in folders]
        if len(names) != len(folders):
            raise UserError(
                f"There must be one class name per subfolder; got {len(names)} names and {len(folders)} subfolders in "
                f"{self.root}. Mend id_dataset.class_names, or leave it null to use the subfolders' names."
            )
        return as_words(names)

    def images(self) -> ImageList:
        whole = not self.labelled and self._folders is None
        found = images_by_folder([self._existing_root()] if whole else self._subfolders())
        labels = [label if self.labelled else -1 for label, paths in enumerate(found) for _ in paths]
        return self.counted(ImageList.of_files([path for paths in found for path in paths], labels))

    def _existing_root(self) -> Path:
        if not self.root.is_dir():
            raise self.missing("The image folder must exist")
        return self.root

    def _subfolders(self) -> list[Path]:
        wanted = given_names(self._folders)
        if wanted is None:
            folders = sorted(
                path for path in self._existing_root().iterdir() if path.is_dir() and not is_hidden(path.name)
            )
        else:
            folders = [self._existing_root() / name for name in wanted]
        if not folders:
            raise UserError(f"{self.root} must hold one subfolder per class; got none.{still_packed(self.root)}")
        if absent := [folder.name for folder in folders if not folder.is_dir()]:
            raise UserError(
                f"{self.root} must hold every subfolder that is asked for; got none of {len(absent)}, such as "
                f"{absent[0]!r}.{still_packed(self.root)}"
            )
        return folders


def images_by_folder(folders: Sequence[Path]) -> list[list[Path]]:
    """The images below each folder.

    Raises:
        UserError: a folder has no image or cannot be read, or a name is not UTF-8.
    """
    found = [images_below(folder) for folder in folders]
    if empty := [folder for folder, paths in zip(folders, found, strict=True) if not paths]:
        raise UserError(
            f"There must be at least one image in each folder; got none in {len(empty)}, such as {empty[0]}."
            f"{still_packed(empty[0])} Known endings: {', '.join(sorted(EXTENSIONS))}."
        )
    return found


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder at any depth, in the order of their path; may be none.

    Hidden files and folders, and files that do not end like a picture, are passed over. Links are followed; one to a
    folder above it is left out with a warning.

    Raises:
        UserError: a folder cannot be read, or a name is not UTF-8.
    """
    try:
        found = list(_walk(str(folder), _above(folder)))
    except OSError as error:
        raise UserError(f"Folders of images must be readable; got {error.filename}: {error.strerror}.") from error
    try:
        "".join(found).encode()
    except UnicodeEncodeError as error:
        strange = next(path for path in found if path.encode(errors="replace").decode() != path)
        raise UserError(f"File names must be UTF-8; got {os.fsencode(strange)!r}. Rename it.") from error
    return [Path(path) for path in found]


def _walk(top: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """The image files below a folder. No recursion: folders may be nested deeper than Python's calls."""
    waiting: list[str | tuple[str, frozenset[tuple[int, int]]]] = [(top, above)]  # files and folders, the next one last
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
            continue
        folder, above = item
        status = os.stat(folder)
        own = (status.st_dev, status.st_ino)
        if own in above:
            logger.warning("%s leads back to a folder above it and is left out", folder)
            continue
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name, reverse=True)
        for entry in ordered:
            # Only a link costs a look at the disk.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                if not is_hidden(entry.name):
                    waiting.append((entry.path, above | {own}))
            elif is_picture(entry.name):
                waiting.append(entry.path)


def _above(folder: Path) -> frozenset[tuple[int, int]]:
    """The folders that hold this one, by device and number, so that a link back to them is seen."""
    return frozenset((status.st_dev, status.st_ino) for status in (path.stat() for path in folder.resolve().parents))


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def still_packed(folder: Path) -> str:
    """What to do with an archive that lies in a folder; empty where none does."""
    archives = sorted(name for name in os.listdir(folder) if name.lower().endswith(ARCHIVES))
    return f" It holds {archives[0]}: extract it." if archives else ""
