"""A report as one HTML page that needs no other file: sortable tables, curves, and each run with its pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from neglab.plots.contact_sheet import LEGEND, Card, figure, whole_page
from neglab.report.curves import Curves
from neglab.results.tables import ReportTable

OWN_STYLE = """
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12ch; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ▴"; }
th[aria-sort=descending] button::after { content: " ▾"; }
.environment td { text-align: left; }
.note { font-size: 12px; max-width: 75ch; margin: .3rem 0; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere; }
h4 { font-size: .9rem; margin: 1rem 0 .4rem; }
summary { cursor: pointer; margin: .6rem 0; }
pre { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; align-items: start; }
.pictures img { max-width: 100%; height: auto; max-height: 420px; background: white; }
"""
# Numbers by their value, cells without one last; everything else by name.
SCRIPT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const heading = button.parentElement, table = heading.closest("table"), body = table.tBodies[0];
  const down = heading.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const text = row => row.cells[heading.cellIndex].textContent, number = row => parseFloat(text(row));
  [...body.rows].sort((a, b) => {
    const [x, y] = [number(a), number(b)];
    if (isNaN(x) || isNaN(y))
      return isNaN(x) && isNaN(y) ? (down ? 1 : -1) * text(a).localeCompare(text(b)) : isNaN(x) - isNaN(y);
    return down ? y - x : x - y;
  }).forEach(row => body.append(row));
}));
"""

Environment = tuple[tuple[str, str], ...]  # name and value


class RunSection(NamedTuple):
    """One run on the page.

    Attributes:
        title: its method and seed.
        folder: where it lies.
        command: of this run alone.
        typed: what was typed: in a sweep the command of all its runs.
        pictures: PNG files.
        cards: by heading, the images whose score is most wrong.
        environment: what computed it, by name.
    """

    title: str
    folder: str
    command: str
    typed: str
    pictures: Sequence[bytes]
    cards: Mapping[str, Sequence[Card]]
    environment: Mapping[str, str]


class Report(NamedTuple):
    """What stands on the page.

    Attributes:
        title: of the page.
        facts: lines below the title.
        tables: in their order.
        curves: of what sweeps have varied.
        runs: the finished ones.
        unfinished: folder and command of each.
        damaged: what could not be read, and what to do.
        environment: of the report itself.
    """

    title: str
    facts: Sequence[str]
    tables: Sequence[ReportTable]
    curves: Sequence[Curves]
    runs: Sequence[RunSection]
    unfinished: Sequence[tuple[str, str]]
    damaged: Sequence[str]
    environment: Mapping[str, str]


def report_page(report: Report) -> str:
    """The page."""
    body = "".join(map(_table, report.tables))
    if report.curves:
        body += "<h2>Over the values of a sweep, in percent: mean and standard deviation over seeds</h2>"
        body += "".join(f"<h3>{escape(title)}</h3>{_pictures([picture], title)}" for title, picture in report.curves)
    environments = _shared_environments(report)
    numbers = {environment: number for number, environment in enumerate(environments, start=1)}
    body += "<h2>Runs</h2>"
    body += "".join(_run(run, numbers[tuple(run.environment.items())]) for run in report.runs)
    if report.unfinished:
        body += "<h2>Without a result: killed, failed or still running</h2>"
        body += "".join(f"<h3>{escape(folder)}</h3>{_code(text)}" for folder, text in report.unfinished)
    if report.damaged:
        body += "<h2>Damaged and left out</h2>"
        body += "".join(f"<p>{escape(message)}</p>" for message in report.damaged)
    body += "<h2>Environments</h2>"
    body += "".join(_environment(numbers[found], found, titles) for found, titles in environments.items())
    return whole_page(report.title, report.facts, f"{body}<script>{SCRIPT}</script>", OWN_STYLE)


def _shared_environments(report: Report) -> dict[Environment, list[str]]:
    """Each once, with the runs that it computed, in the order in which the page numbers them."""
    shared: dict[Environment, list[str]] = {}
    for run in report.runs:
        shared.setdefault(tuple(run.environment.items()), []).append(run.title)
    shared.setdefault(tuple(report.environment.items()), []).append("this report")
    return shared


def _environment(number: int, environment: Environment, titles: Sequence[str]) -> str:
    lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in environment)
    table = f'<table class="environment"><tbody>{lines}</tbody></table>' if lines else "<p>unknown</p>"
    return f'<h3>Environment {number}</h3><p class="note">{escape(", ".join(titles))}</p>{table}'


def _table(table: ReportTable) -> str:
    best = table.best()
    headings = "".join(f'<th scope="col"><button>{escape(heading)}</button></th>' for heading in table.headings)
    rows = ""
    for i, row in enumerate(table.rows):
        cells = (f"<b>{escape(cell)}</b>" if (i, j) in best else escape(cell) for j, cell in enumerate(row))
        rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<h2>{escape(table.title)}</h2><div class="scroll"><table><thead><tr>{headings}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}\n"
    )


def _run(run: RunSection, environment: int) -> str:
    typed = f'<p class="note">typed as</p>{_code(run.typed)}' if run.typed not in ("", run.command) else ""
    sets = (f"<h4>{escape(name)}</h4><main>{''.join(map(figure, cards))}</main>" for name, cards in run.cards.items())
    cards = "".join(sets)
    if cards:
        heading = "<summary>Images whose score is most wrong</summary>"
        cards = f'<details>{heading}<p class="note">{LEGEND}</p>{cards}</details>'
    place = f'<p class="note">{escape(run.folder)}, environment {environment}</p>'
    return (
        f"<h3>{escape(run.title)}</h3>{place}{_code(run.command)}{typed}{_pictures(run.pictures, run.title)}{cards}\n"
    )


def _pictures(pictures: Sequence[bytes], title: str) -> str:
    images = (
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{escape(title)}">'
        for picture in pictures
    )
    return f'<div class="pictures">{"".join(images)}</div>'


def _code(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"
