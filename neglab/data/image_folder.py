"""Images in an ordinary folder, one subfolder per class for an ID dataset."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

from natsort import natsorted

from neglab.columns import PathTexts
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.listed import on_disk
from neglab.data.names import Names, as_class_names, as_words, composed, given_names, spoken, warn_of_marks
from neglab.data.pictures import is_junk, is_picture
from neglab.places import Place, Places, RemotePath, packed, place_of, seen_together
from neglab.types import UserError, Words

Found = TypeVar("Found")

logger = logging.getLogger(__name__)

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
ENDINGS_SHOWN = 8  # of what is passed over, the most frequent first
HEIC = {".heic", ".heif"}  # photos of telephones, which Pillow reads by a package of its own
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".7z", ".rar")


class ImageFolder(ImageDataset):
    """A folder of images.

    Args:
        root: the folder, or its address, such as s3://bucket/photos.
        labelled: True: each subfolder of `root` is one class (an ID dataset), in natural order: 2 before 10. False:
            all images below `root`, of no class (an OOD dataset).
        class_names: with `labelled`, the names in the order of the subfolders, or a mapping from each subfolder to its
            name; given, or in a file (see `given_names`). None: the subfolders' names, underscores read as spaces, or
            where they are WordNet ids, the names of those classes.
        folders: only these subfolders, in this order: a list, or a text file with one name per line. None: all.
        about: what is known of a published set.

    Raises:
        UserError: on first use, for a missing folder, an empty class, a count of names that does not fit, or
            subfolders that are numbers or unknown WordNet ids where no names are given.
    """

    def __init__(
        self,
        root: str,
        labelled: bool,
        class_names: Names,
        folders: Names,
        about: About | None,
    ) -> None:
        self.root = place_of(root)
        self.place, self.about = str(self.root), about
        self.labelled = labelled
        self._names, self._folders = class_names, folders

    def class_names(self) -> Words:
        return self._words

    @cached_property
    def _words(self) -> Words:
        keys = self.class_keys()
        names = given_names(self._names, [composed(key) for key in keys])
        if names is None:
            names = as_class_names([spoken(key) for key in keys], f"the subfolders of {self.root}")
            warn_of_marks(names)
        if len(names) != len(keys):
            raise UserError(
                f"There must be one class name per subfolder; got {len(names)} names and {len(keys)} subfolders in "
                f"{self.root}. Mend id_dataset.class_names, or leave it null to use the subfolders' names."
            )
        if self._names is not None and self._folders is None and keys != sorted(keys):
            logger.warning(
                "Class names belong to the subfolders of %s in natural order: %s; in text order, as torchvision has "
                "it, they would begin %s",
                self.root,
                ", ".join(f"{key} = {name}" for key, name in zip(keys[:3], names, strict=False)),
                ", ".join(sorted(keys)[:3]),
            )
        return as_words(names, keys)

    def class_keys(self) -> Sequence[str]:
        return [folder.name for folder in self._subfolders()] if self.labelled else ()

    def extent(self) -> Sequence[Place]:
        return [self.root] if not self.labelled and self._folders is None else self._subfolders()

    def images(self) -> ImageList:
        whole = not self.labelled and self._folders is None
        folders = [self._existing_root()] if whole else self._subfolders()
        paths, counts = images_by_folder(folders)
        if self.labelled and self._folders is None:
            warn_of_layout(self.root, folders, paths.texts, counts)
        return self.counted(ImageList.of_files(paths, labels_of(counts, self.labelled)))

    def _existing_root(self) -> Place:
        if not self.root.is_dir():
            raise self.missing("The image folder must exist")
        return self.root

    def _subfolders(self) -> list[Place]:
        wanted = given_names(self._folders)
        if wanted is None:
            found = [path for path in self._existing_root().iterdir() if path.is_dir() and not is_junk(path.name)]
            folders = natsorted(sorted(found), key=lambda path: path.name)
        else:
            root = self._existing_root()
            folders = list(seen_together([on_disk(root, name) for name in wanted]))
        if not folders:
            raise UserError(f"{self.root} must hold one subfolder per class; got none.{still_packed(self.root)}")
        if absent := [folder.name for folder in folders if not folder.is_dir()]:
            raise UserError(
                f"{self.root} must hold every subfolder that is asked for; got none of {len(absent)}, such as "
                f"{absent[0]!r}.{still_packed(self.root)}"
            )
        return folders


def labels_of(counts: Sequence[int], labelled: bool = True) -> list[int]:
    """The class of each image, by the number of each class's images; not `labelled`: none."""
    return [label if labelled else -1 for label, count in enumerate(counts) for _ in range(count)]


def images_by_folder(folders: Sequence[Place]) -> tuple[Places, list[int]]:
    """The images below all folders, and how many lie below each.

    Raises:
        UserError: a folder has no image or cannot be read, or a name is not UTF-8.
    """
    paths, counts = images_in(folders)
    if empty := [folder for folder, count in zip(folders, counts, strict=True) if not count]:
        raise UserError(
            f"There must be at least one image in each folder; got none in {len(empty)}, such as {empty[0]}."
            f"{still_packed(empty[0])} Images are what Pillow opens, such as .jpg and .png files."
        )
    return paths, counts


def images_below(folder: Place) -> Places:
    """The image files in a folder at any depth, as `images_in` finds them; may be none."""
    return images_in([folder])[0]


def images_in(folders: Sequence[Place]) -> tuple[Places, list[int]]:
    """The image files in all folders, all of one kind, at any depth: each folder's in the order of their path.

    Hidden files and folders, and those that systems leave beside pictures, are passed over; so are files that do not
    end like a picture, which one line counts. Links are followed; one to a folder above it is left out with a warning.

    Returns:
        The files, and how many there are in each folder.

    Raises:
        UserError: a folder cannot be read, or a name is not UTF-8.
    """
    skipped, counts = Counter[str](), list[int]()

    def each(walk: Callable[[Any, Counter[str]], Iterator[Found]]) -> Iterator[Found]:
        for folder in folders:
            counts.append(0)
            for file in walk(folder, skipped):
                counts[-1] += 1
                yield file

    try:
        if any(isinstance(folder, RemotePath) for folder in folders):
            found = packed(each(_walk_store))
        else:
            found = Places(Path, PathTexts(each(_walk_disk)))
    except OSError as error:
        raise UserError(f"Folders of images must be readable; got {error.filename}: {error.strerror}.") from error
    if skipped:
        ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))[:ENDINGS_SHOWN]
        kinds = [f"{count} {ending or 'without ending'}" for ending, count in ordered]
        more = ", ..." if len(skipped) > ENDINGS_SHOWN else ""
        place = folders[0] if len(folders) == 1 else folders[0].parent
        advice = " (pip install 'neglab[heic]' reads them)" if HEIC & set(skipped) else ""
        listed = ", ".join(kinds) + more + advice
        logger.warning("%d files below %s are no images: %s", skipped.total(), place, listed)
    return found, counts


def _walk_disk(top: Path, skipped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Folder and name of each image below a folder, without the "./" that `Path` leaves out."""
    for folder, name in _walk(str(top), _above(top), skipped):
        try:
            f"{folder}{name}".encode()
        except UnicodeEncodeError as error:
            strange = os.fsencode(os.path.join(folder, name))
            raise UserError(f"File names must be UTF-8; got {strange!r}. Rename it.") from error
        yield "" if folder == "." else folder.removeprefix("./"), name


def _walk_store(top: RemotePath, skipped: Counter[str]) -> Iterator[RemotePath]:
    """The images below a folder of an object store, in the order in which `_walk` finds them on a disk."""
    waiting = [top]  # the next one last
    while waiting:
        item = waiting.pop()
        if item.mark:
            yield item
            continue
        for entry in sorted(item.iterdir(), key=lambda entry: entry.name, reverse=True):
            if is_junk(entry.name):
                continue
            if not entry.mark or is_picture(entry.name):
                waiting.append(entry)
            else:
                skipped[os.path.splitext(entry.name)[1].lower()] += 1


def _walk(top: str, above: frozenset[tuple[int, int]], skipped: Counter[str]) -> Iterator[tuple[str, str]]:
    """Folder and name of each image file. No recursion: folders may be nested deeper than Python's calls."""
    levels = [_entries(top, above, skipped)]
    while levels:
        if (found := next(levels[-1], None)) is None:
            levels.pop()
            continue
        folder, name, inner = found
        if inner is None:
            yield folder, name
        else:
            levels.append(_entries(os.path.join(folder, name), inner, skipped))


def _entries(
    folder: str, above: frozenset[tuple[int, int]], skipped: Counter[str]
) -> Iterator[tuple[str, str, frozenset[tuple[int, int]] | None]]:
    """The images and folders in a folder, by name; the latter with all folders above what they hold."""
    status = os.stat(folder)
    own = (status.st_dev, status.st_ino)
    if own in above:
        logger.warning("%s leads back to a folder above it and is left out", folder)
        return
    inner, names, folders = above | {own}, list[str](), set[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_junk(entry.name):
                continue
            # Only a link costs a look at the disk.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                folders.add(entry.name)
            elif not is_picture(entry.name):
                skipped[os.path.splitext(entry.name)[1].lower()] += 1
                continue
            names.append(entry.name)
    names.sort()
    for name in names:
        yield folder, name, inner if name in folders else None


def _above(folder: Path) -> frozenset[tuple[int, int]]:
    """The folders that hold this one, by device and number, so that a link back to them is seen."""
    return frozenset((status.st_dev, status.st_ino) for status in (path.stat() for path in folder.resolve().parents))


def warn_of_layout(root: Place, folders: Sequence[Place], paths: PathTexts, counts: Sequence[int]) -> None:
    """Say where subfolders hardly are the classes: they are named as splits, or hold folders of images themselves."""
    splits = [folder.name for folder in folders if folder.name.lower() in SPLITS]
    deeper = [paths.folders_of(start, end) for start, end in pairwise([0, *accumulate(counts)])]
    if len(splits) > 1 or len(splits) == len(folders):
        logger.warning("Each subfolder of %s is taken as a class; are %s splits of one set?", root, ", ".join(splits))
    elif (
        all(str(folder) not in parents for folder, parents in zip(folders, deeper, strict=True))
        and max(map(len, deeper)) > 1
    ):
        example = min(max(deeper, key=len))
        logger.warning(
            "Each subfolder of %s is taken as a class; are their own, such as %s, the classes?", root, example
        )


def still_packed(folder: Place) -> str:
    """What to do with an archive that lies in a folder; empty where none does."""
    archives = sorted(path.name for path in folder.iterdir() if path.name.lower().endswith(ARCHIVES))
    return f" It holds {archives[0]}: extract it." if archives else ""
