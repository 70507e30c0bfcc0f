"""The tables of a report, their best values in bold: for the console, in Markdown and in LaTeX."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from neglab.results.results import markdown_text, pipe_table

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "–": "--",
}


NUMBER_WIDTH = 8  # of the longest number, such as "[-12.34,"
LABEL_WIDTH = 14  # that are left for a method at least; more where a word of it is longer, up to half of the screen
FRAME = 3  # of a column: a space on either side, and a line

Rows = Sequence[Sequence[str]]  # of cells


class ReportTable(NamedTuple):
    """A table of plain text.

    Attributes:
        headings: ↑ or ↓ says which way is up; where one has neither, the title may.
        rows: one cell per heading; a number comes first in its cell.
        notes: lines below.
        compares: whether the rows are methods that compete, so that each column has a best value.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    compares: bool = True

    def best(self) -> set[tuple[int, int]]:
        """Row and column of the best values as they are shown; a value alone in its column beats nothing."""
        found: set[tuple[int, int]] = set()
        for column, heading in enumerate(self.headings if self.compares else ()):
            direction = next((arrow for arrow in "↑↓" if arrow in heading), "↑" if "↑" in self.title else None)
            values = {i: float(row[column].split()[0]) for i, row in enumerate(self.rows) if row[column][:1].isdigit()}
            if direction and column and len(values) > 1:
                best = max(values.values()) if direction == "↑" else min(values.values())
                found |= {(i, column) for i, value in values.items() if value == best}
        return found


def read(table: Table) -> ReportTable:
    """A table of the console. Lines that only name the method of those below them become a first column."""
    cells = zip(*(column.cells for column in table.columns), strict=True)
    rows = [tuple(Text.from_markup(str(cell)).plain for cell in row) for row in cells]
    headings = tuple(str(column.header) for column in table.columns)
    notes = tuple(Text.from_markup(str(table.caption)).plain.splitlines()) if table.caption else ()
    if not (is_grouped := any(not any(row[1:]) for row in rows)):
        return ReportTable(str(table.title), headings, tuple(rows), notes)
    name, ungrouped = "", []
    for row in rows:
        if any(row[1:]):
            ungrouped.append((name, *row))
        else:
            name = row[0]
    return ReportTable(str(table.title), ("method", *headings), tuple(ungrouped), notes, compares=not is_grouped)


def for_console(table: ReportTable, width: int) -> list[Table]:
    """With the best values in bold, and every number whole: where columns do not fit, in several tables.

    Args:
        table: what to show.
        width: of the console, in characters.
    """
    rows = [list(map(_closed_up, row)) for row in table.rows]
    # Of a number's width, such as "[-12.34,"; other words are folded, and of the first column those that fill a half.
    needed = [min(_longest_word(row[i] for row in rows), NUMBER_WIDTH) for i in range(len(table.headings))]
    longest = max((len(row[0]) for row in rows), default=0)
    needed[0] = min(max(LABEL_WIDTH, _longest_word(row[0] for row in rows)), longest, width // 2)
    parts: list[list[int]] = [[]]
    for column in range(1, len(table.headings)):
        taken = sum(needed[known] + FRAME for known in (*parts[-1], column))
        if parts[-1] and needed[0] + FRAME + taken > width - 1:
            parts.append([])
        parts[-1].append(column)
    return [_rich(table, rows, [0, *columns], needed, width, last=columns is parts[-1]) for columns in parts]


def _longest_word(cells: Iterable[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _closed_up(cell: str) -> str:
    """A deviation's sign does not stay behind on the line above."""
    return cell.replace("± ", "±")


def _widths(table: ReportTable, rows: Rows, columns: Sequence[int], needed: Sequence[int], width: int) -> list[int]:
    """What each column gets: what it needs; of what is left first whole words of headings, then whole cells."""
    found = [needed[column] for column in columns]
    left = width - 1 - sum(found) - FRAME * len(found)
    words = [_longest_word([table.headings[column]]) for column in columns]
    cells = [max(map(len, (table.headings[column], *(row[column] for row in rows)))) for column in columns]
    for wanted in (words, cells):
        for i, most in enumerate(wanted):
            more = max(0, min(left, most - found[i]))
            found[i], left = found[i] + more, left - more
    return found


def _rich(
    table: ReportTable, rows: Rows, columns: Sequence[int], needed: Sequence[int], width: int, last: bool
) -> Table:
    result, best = Table(title=escape(table.title), title_justify="left", caption_justify="left"), table.best()
    result.caption = escape("\n".join(table.notes)) if last else None
    for column, own in zip(columns, _widths(table, rows, columns, needed, width), strict=True):
        justify = "right" if column else "left"
        result.add_column(escape(table.headings[column]), justify=justify, width=own, overflow="fold")
    for i, row in enumerate(rows):
        result.add_row(*(Text(row[j], "bold" if (i, j) in best else "") for j in columns))
    return result


def markdown(tables: Sequence[ReportTable]) -> str:
    """With the best values in bold."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: ReportTable) -> str:
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    body = pipe_table(table.headings, rule, table.rows, table.best())
    notes = "".join(f"\n{markdown_text(note)}\n" for note in table.notes)
    return f"{markdown_text(table.title)}\n\n{body}{notes}"


def latex(tables: Sequence[ReportTable]) -> str:
    r"""For \input in a document that loads booktabs."""
    return "% \\usepackage{booktabs}\n\n" + "\n".join(_latex(table) for table in tables)


def _latex(table: ReportTable) -> str:
    best = table.best()
    lines = [" & ".join(map(_latex_text, table.headings)), r"\midrule"]
    for i, row in enumerate(table.rows):
        cells = [_latex_text(cell) for cell in row]
        lines.append(" & ".join(f"\\textbf{{{cell}}}" if (i, j) in best else cell for j, cell in enumerate(cells)))
    body = "\n".join(line if line == r"\midrule" else f"{line} \\\\" for line in lines)
    notes = "".join(f"\n\n{{\\footnotesize {_latex_text(note)}\\par}}" for note in table.notes)
    columns = "l" + "r" * (len(table.headings) - 1)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_latex_text(table.title)}}}\n\\begin{{tabular}}{{{columns}}}\n"
        f"\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}{notes}\n\\end{{table}}\n"
    )


def _latex_text(text: str) -> str:
    text = re.sub(r"^-(?=\d)", "−", text)  # a minus, not a hyphen
    return "".join((LATEX | {"−": "$-$"}).get(character, character) for character in text)
