"""Names of classes, wherever a person keeps them."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neglab.files import read_bytes
from neglab.types import UserError, Words

logger = logging.getLogger(__name__)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 text file without surrounding spaces; empty ones are left out.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    path = Path(path).expanduser()
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(
            f"The file of names must exist; got {path} ({error.strerror}). It holds one name per line."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; byte {error.start} is not. Save it as UTF-8.") from error
    return [line.strip() for line in lines if line.strip()]


def given_names(names: object) -> list[str] | None:
    """Names from a list, or from a text file with one per line; None: none were given.

    Raises:
        UserError: what was given is neither, or the file cannot be read.
    """
    if names is None:
        return None
    if isinstance(names, str):
        return read_lines(names)
    if not isinstance(names, Sequence) or not all(isinstance(name, str | int | float) for name in names):
        raise UserError(f"Names must be a list of names, or a file with one name per line; got {names!r}.")
    return [str(name).strip() for name in names]


def as_words(names: Sequence[str]) -> Words:
    """Class names as nouns. Names that stand more than once are kept with a warning: ImageNet's own list has two."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        logger.warning("These class names stand more than once and are kept: %s", ", ".join(repeated))
    return Words.nouns(names)


def spoken(name: str) -> str:
    """A name as a person writes it: that of a folder or of a dataset's own list, underscores read as spaces."""
    return name.replace("_", " ").strip()


def numbered(
    labels: Sequence[object], names: Sequence[str] | None, place: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Labels as they stand in a dataset, as positions among the class names.

    Args:
        labels: one per image, each an index or a class name.
        names: the class names in the order of their index. None: the distinct labels, sorted, which must be names.
        place: where the labels stand, for messages.

    Returns:
        The position of each image's class, and the class names.

    Raises:
        UserError: numbers without names, an unknown name, or a number beyond them.
    """
    if names is None:
        if nameless := [label for label in labels if not isinstance(label, str)]:
            raise UserError(
                f"Labels that are no names need names; got {nameless[0]!r} in {place}. Set id_dataset.class_names to a "
                "list, or to a file with one name per line."
            )
        names = sorted({str(label) for label in labels})
    position_of: dict[object, int] = {name: i for i, name in reversed(list(enumerate(names)))}
    position_of |= {i: i for i in range(len(names))}
    for label in dict.fromkeys(labels):
        if label not in position_of:
            raise UserError(
                f"Each label must be one of the {len(names)} class names, or a number from 0 to {len(names) - 1}; got "
                f"{label!r} in {place}. Mend id_dataset.class_names, or take a split that has labels."
            )
    return tuple(position_of[label] for label in labels), tuple(names)
