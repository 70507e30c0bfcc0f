"""Files that hold class names: text, JSON, YAML and CSV."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import yaml

from neglab.places import Place, content_of, place_of
from neglab.types import UserError

# Headings of a column of names, the likeliest first, and of one of what has the names.
NAME_COLUMNS = ("class_name", "label_name", "name", "class", "label", "category")
KEY_COLUMNS = ("index", "class_index", "class_id", "label_id", "id", "folder", "wnid", "label")


def read_text(path: str | Place) -> str:
    """The text of a UTF-8 file, on the disk or at an address.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    path = place_of(path)
    try:
        return content_of(path).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "there is none"
        raise UserError(f"The file of names must exist; got {path} ({reason}). It holds one name per line.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} must be UTF-8 text; byte {error.start} is not. Save it as UTF-8.") from error


def read_names(path: str | Place) -> object:
    """What a file of names holds, by its ending: a list of them, or a mapping from what has them.

    Raises:
        UserError: it is missing, damaged, or a table without a column of names.
    """
    text, ending = read_text(path), Path(str(path)).suffix.lower()
    try:
        return READERS.get(ending, _lines)(text)
    except (ValueError, RecursionError, yaml.YAMLError, csv.Error) as error:
        raise UserError(f"{path} must hold class names as {ending} files do; it cannot be read: {error}") from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _yaml(text: str) -> object:
    """All words stay words: YAML's own rules make truth values of yes, no, on and off."""
    return yaml.BaseLoader(text).get_single_data()


def _table(text: str, delimiter: str = ",") -> object:
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    if not rows:
        return []
    if uneven := next((row for row in rows if len(row) != len(rows[0])), None):
        raise ValueError(
            f"its first row has {len(rows[0])} cells, and {uneven} has {len(uneven)}; quote commas in names"
        )
    headings = [cell.lower() for cell in rows[0]]
    name = next((headings.index(heading) for heading in NAME_COLUMNS if heading in headings), None)
    if name is not None:
        keys = (headings.index(heading) for heading in KEY_COLUMNS if heading in headings)
        key, rows = next((column for column in keys if column != name), None), rows[1:]
    elif len(headings) <= 2:
        name, key = len(headings) - 1, 0 if len(headings) == 2 else None
    else:
        raise ValueError(f"none of its columns {headings} is headed {', '.join(NAME_COLUMNS)}")
    if key is None:
        return [row[name] for row in rows]
    named = {row[key]: row[name] for row in rows}
    if len(named) < len(rows):
        raise ValueError(f"{headings[key]!r} has an entry twice")
    return named


def _tab_table(text: str) -> object:
    return _table(text, "\t")


READERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": _table,
    ".tsv": _tab_table,
}
