"""Images that a dataset's own table names."""

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

from neglab.data.base import ImageDataset, ImageList
from neglab.places import AnyPlace, Place, Places, RemotePath, is_address, packed, seen_together
from neglab.types import UserError


def listed_files(dataset: ImageDataset, rows: Iterable[tuple[Place, int]]) -> ImageList:
    """The named images with their class; one that is missing is found when it is read, with all its like.

    Raises:
        UserError: none of them exists.
    """
    labels: list[int] = []

    def listed() -> Iterator[Place]:
        for path, label in rows:
            labels.append(label)
            yield path

    paths = seen_files(packed(listed()))
    if not any(map(is_there, paths)):
        tried = f", which {paths[0]} does not" if paths else "; the list is empty"
        raise dataset.missing(f"One of the listed images at least must exist{tried}")
    return dataset.counted(ImageList.of_files(paths, labels))


def is_there(path: Place) -> bool:
    """Whether there is such a file, in a store as `seen_files` found it; a path that is too long is no error."""
    return bool(path.mark) if isinstance(path, RemotePath) else os.path.isfile(path)


def seen_files(files: Places) -> Places:
    """The same files, those in a store with what it says of them; it is asked once for each folder."""
    if files.make is Path:
        return files
    order = files.texts.by_folder()
    return packed(seen_together(files.take(map(int, order)))).take(map(int, order.argsort()))


def on_disk(root: AnyPlace, name: str) -> AnyPlace:
    """The file or folder of this name as the disk spells it: macOS takes letters and their marks apart.

    Raises:
        UserError: the name is an address that does not lie below the root.
    """
    if isinstance(root, RemotePath):
        return root.below(name)
    if is_address(name):
        raise UserError(
            f"A list may name what lies below its root alone, here {root}; got {name!r:.200}. Mend the list, or set "
            "root to that place."
        )
    if name.isascii() or (root / name).exists():
        return root / name
    spellings = [root / normalize(form, name) for form in ("NFC", "NFD")]
    return next((path for path in spellings if path.exists()), root / name)


@contextmanager
def whole_tables(place: str | Path, *others: type[Exception]) -> Iterator[None]:
    """Says of a table that cannot be read as it should where it lies and what to do.

    Args:
        place: the folder of the tables.
        others: what a library raises on a damaged table.

    Raises:
        UserError: a table lacks lines, columns or keys, or is missing.
    """
    try:
        yield
    except (ValueError, LookupError, OSError, csv.Error, *others) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"The tables in {place} must be whole; got {reason}. Extract the archive again.") from error
