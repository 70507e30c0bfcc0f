"""Cells of CSV files that people open in spreadsheets: text that came from outside never becomes a formula there."""

import csv
import re
from collections.abc import Sequence
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # behind an apostrophe a spreadsheet shows it as text
FORMULAS = re.compile(f"^{FORMULA.pattern}", re.MULTILINE)
GUARDED = re.compile(r"'+[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def guarded(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula, behind an apostrophe; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def guarded_column(texts: Sequence[str]) -> Sequence[str]:
    """Each of them `guarded`; where none needs it, which one search tells, they are the same ones."""
    return list(map(guarded, texts)) if FORMULAS.search("\n".join(texts)) else texts


def unguarded(cell: Any) -> Any:
    """What was `guarded`, as it was."""
    return cell[1:] if isinstance(cell, str) and GUARDED.match(cell) else cell


class TableReader(csv.DictReader):
    """The rows of a CSV file that neglab has written."""

    def __next__(self) -> dict[str | Any, str | Any]:
        return {name: unguarded(cell) for name, cell in super().__next__().items()}
