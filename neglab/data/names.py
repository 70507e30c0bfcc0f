"""Names of classes, wherever a person keeps them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from neglab.types import UserError, Words

logger = logging.getLogger(__name__)


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 text file without surrounding spaces; empty ones are left out.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"The file of names must exist; got {path}. It holds one name per line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; byte {error.start} is not. Save it as UTF-8.") from error
    return [line.strip() for line in lines if line.strip()]


def given_names(names: str | Sequence[str | int] | None) -> list[str] | None:
    """Names from a list, or from a text file with one per line; None: none were given."""
    if names is None:
        return None
    return read_lines(names) if isinstance(names, str) else [str(name).strip() for name in names]


def as_words(names: Sequence[str]) -> Words:
    """Class names as nouns. Names that stand more than once are kept with a warning: ImageNet's own list has two."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
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
