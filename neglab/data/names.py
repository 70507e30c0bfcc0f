"""Names of classes, wherever a person keeps them."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from reprlib import repr as short_repr
from unicodedata import normalize

import numpy as np

from neglab.data.name_files import read_names, read_text
from neglab.places import Place
from neglab.types import UserError, Words
from neglab.wordnet import synset_of_wnid

logger = logging.getLogger(__name__)

Names = object  # what a person gives; `given_names` says what is wrong with it
LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")  # as str.splitlines has it
WNID = re.compile(r"n\d{8}(?!\d)")
MARKED = re.compile(r"[\[\]{}]|\A[\"']|[,;\"']\Z")  # what is left of a list in another language
NUMBERED = re.compile(r"(\d+)[\s.,:;)_-]+\S")
LISTS = ("id2label", "class_names", "classes", "names")  # where model configs and data files keep theirs


def each_line(path: str | Place) -> Iterator[str]:
    """The lines of a UTF-8 text file without surrounding spaces; empty ones are left out.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    return filter(None, (found[0].strip() for found in LINE.finditer(read_text(path))))


def read_lines(path: str | Place) -> list[str]:
    """All of `each_line`."""
    return list(each_line(path))


def given_names(names: Names, of: Sequence[str] = ()) -> list[str] | None:
    """Names in their order, whatever they are given as; None: none were given.

    Args:
        names: a list or array of names; a mapping from each index to its name, or the other way, such as a model's
            id2label; or a file of either: JSON, YAML, CSV, or text with one name per line.
        of: what has the names, such as class folders, in their order: keys that a mapping may have instead of indices.

    Raises:
        UserError: it is none of these, or holds what is no name.
    """
    if names is None:
        return None
    place = str(names) if isinstance(names, str | Path) else "those given"
    found: object = read_names(names) if isinstance(names, str | Path) else names
    if isinstance(found, Mapping):
        found = next((found[key] for key in LISTS if isinstance(found.get(key), Mapping | list)), found)
    if isinstance(found, Mapping):
        found = _in_order({composed(str(key)): name for key, name in found.items()}, of, place)
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if isinstance(found, str | set) or not isinstance(found, Iterable):
        raise UserError(f"Names must be a list, or a file of them; got {short_repr(found)}.")
    entries = list(found)
    listed = [_name(name, number, place) for number, name in enumerate(entries, start=1)]
    if listed and all(map(_is_number, entries)):
        raise UserError(
            f"Names must be words; got numbers, such as {listed[0]}, in {place}. Quote those that are names."
        )
    warn_of_marks(listed)
    return listed


def _in_order(named: Mapping[str, object], of: Sequence[str], place: str) -> list[object]:
    """The names of a mapping: by what has them, or by their index, which may be key or value."""
    indices = [str(i) for i in range(len(named))]
    name_at = {str(index): name for name, index in named.items()}
    if set(name_at) == set(indices) != set(named):
        return [name_at[index] for index in indices]
    if of and named.keys() >= set(of):
        return [named[key] for key in of]
    if set(named) == set(indices):
        return [named[index] for index in indices]
    allowed = f"0 to {len(named) - 1}" + (f", or the class folders, such as {of[0]}" if of else "")
    raise UserError(
        f"A mapping to names must have the keys {allowed}; got {', '.join(map(repr, list(named)[:3]))} in {place}."
    )


def _name(name: object, number: int, place: str) -> str:
    if isinstance(name, list | tuple) and len(name) == 2 and WNID.fullmatch(str(name[0])):  # ImageNet's class index
        name = spoken(str(name[1]))
    if not isinstance(name, str) and not _is_number(name):
        raise UserError(
            f"A class name must be text; got {short_repr(name)} in place {number} of {place}. Quote it if it is one."
        )
    if not (text := composed(str(name).strip())):
        raise UserError(f"A class name must not be empty; got one in place {number} of {place}. Leave it out.")
    return text


def _is_number(name: object) -> bool:
    return isinstance(name, Integral) and not isinstance(name, bool | np.bool_)


def warn_of_marks(names: Sequence[str]) -> None:
    """Say where names look like those of a list in another form: their embeddings would be those of the marks too."""
    if marked := [name for name in names if MARKED.search(name)]:
        logger.warning("%d of %d class names hold marks of a list, such as %r", len(marked), len(names), marked[0])
    numbers = [int(found[1]) for name in names if (found := NUMBERED.match(name))]
    if len(names) > 1 and len(numbers) == len(names) and numbers in (_count(0, names), _count(1, names)):
        logger.warning("Each class name begins with its number, such as %r; leave the numbers out", names[0])
    if len(names) > 1 and all(WNID.match(name) and len(name) > len("n01440764") for name in names):
        logger.warning("Each class name begins with its WordNet id, such as %r; leave the ids out", names[0])


def _count(start: int, names: Sequence[str]) -> list[int]:
    return list(range(start, start + len(names)))


def as_class_names(keys: Sequence[str], place: str) -> list[str]:
    """What classes are called that nobody has named, by their folders or labels.

    WordNet ids give way to names: those of ImageNet-1K on the papers' list, for other classes the first of WordNet's.

    Raises:
        UserError: they are numbers, or WordNet ids among others or of no known synset.
    """
    names = list(keys)
    ids = [name for name in names if WNID.fullmatch(name)]
    if ids and len(ids) == len(names):
        from neglab.data.wnids import wnid_names  # slow to import

        if (found := wnid_names(ids)) is not None:
            logger.warning("The classes in %s are WordNet ids; they are named %s", place, _pairs(ids, found))
            return found
    if ids or (names and all(name.isdecimal() for name in names)):
        kind, example = ("WordNet ids", ids[0]) if ids else ("numbers", names[0])
        raise UserError(
            f"Class names must be words; got {kind}, such as {example}, in {place}. Set id_dataset.class_names to "
            "their names: a list, or a file (text, CSV, JSON or YAML) of them in this order or by id. For classes of "
            "ImageNet-1K: id_dataset=imagenet1k id_dataset.root=FOLDER id_dataset.wnids=FILE"
        )
    return names


def _pairs(keys: Sequence[str], names: Sequence[str]) -> str:
    shown = ", ".join(f"{key} = {name}" for key, name in zip(keys[:3], names, strict=False))
    return f"{shown}, ..." if len(keys) > 3 else shown


def as_words(names: Sequence[str], keys: Sequence[str] = ()) -> Words:
    """Class names as nouns. Names that stand more than once are kept with a warning: ImageNet's own list has two.

    Args:
        names: in the order of their index.
        keys: what the classes are called where their images lie; WordNet ids say which sense of a name is meant.
    """
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        logger.warning("These class names stand more than once and are kept: %s", ", ".join(repeated))
    return Words.nouns(names, synsets_of(keys) if keys else None)


def synsets_of(keys: Sequence[str]) -> list[str | None]:
    """The WordNet 3.1 synset of each class that goes by a WordNet id, such as n01440764; None for another key."""
    return [synset_of_wnid(key) if WNID.fullmatch(key) else None for key in keys]


def spoken(name: str) -> str:
    """A name as a person writes it: that of a folder or of a dataset's own list, underscores read as spaces."""
    return composed(name.replace("_", " ").strip())


def composed(text: str) -> str:
    """Letters with their marks as one character each: macOS takes them apart in file names, and tokenizers differ."""
    return normalize("NFC", text)


def numbered(
    labels: Sequence[object], names: Sequence[str] | None, place: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Labels as they stand in a dataset, as positions among the class names.

    Args:
        labels: one per image, each an index or a class name; digits as text are names where all labels are among the
            names, such as 747, and indices otherwise.
        names: the class names in the order of their index. None: the distinct labels, sorted, which must be names.
        place: where the labels stand, for messages.

    Returns:
        The position of each image's class, and the class names.

    Raises:
        UserError: numbers without names, an unknown name, a number beyond them, or several labels of an image.
    """
    distinct = list(dict.fromkeys(_one_label(label, place) for label in labels))
    position_of: dict[object, int]
    if names is None:
        nameless = [label for label in distinct if not isinstance(label, str)]
        if all(isinstance(label, str) and label.isdecimal() for label in distinct):
            nameless = distinct
        if nameless:
            raise UserError(
                f"Labels that are no names need names; got {nameless[0]!r} in {place}. Set id_dataset.class_names to a "
                "list, or to a file with one name per line."
            )
        keys = sorted({str(label) for label in distinct})
        names = as_class_names(keys, place)
        position_of = {key: i for i, key in enumerate(keys)}
    else:
        position_of = {name: i for i, name in reversed(list(enumerate(names)))}
    if not all(label in position_of for label in distinct):
        check_counted_from_0([int(str(label)) for label in distinct if str(label).isdecimal()], len(names), place)
        position_of |= {kind(i): i for i in range(len(names)) for kind in (int, str)}
    if unknown := [label for label in distinct if label not in position_of]:
        raise UserError(
            f"Each label must be one of the {len(names)} class names, or a number from 0 to {len(names) - 1}; got "
            f"{unknown[0]!r} in {place}. Mend id_dataset.class_names, or take a split that has labels."
        )
    return tuple(position_of[_one_label(label, place)] for label in labels), tuple(names)


def check_counted_from_0(labels: Iterable[int], num_classes: int, place: str) -> None:
    """Raise a UserError where labels are seen to be counted from 1: the last is one too large, and 0 is missing."""
    found = set(labels)
    if found and min(found) == 1 and max(found) == num_classes:
        raise UserError(
            f"Labels must be counted from 0; those in {place} go from 1 to {num_classes}, for {num_classes} class "
            "names. Take 1 from each."
        )


def _one_label(label: object, place: str) -> object:
    if isinstance(label, list | tuple | dict | set | np.ndarray):
        raise UserError(f"Each image must have one label; got {label!r} in {place}. Choose another column or member.")
    return composed(label) if isinstance(label, str) else label
