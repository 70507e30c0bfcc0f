"""A report as one HTML page that needs no other file: sortable tables, the runs' pictures, commands, environment."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from neglab.plots.contact_sheet import whole_page
from neglab.tasks.report_tables import ReportTable

OWN_STYLE = """
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 12ch; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ▴"; }
th[aria-sort=descending] button::after { content: " ▾"; }
.note { font-size: 12px; max-width: 75ch; margin: .3rem 0; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; overflow-wrap: anywhere; }
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


class RunSection(NamedTuple):
    """One run on the page.

    Attributes:
        title: its method and seed.
        folder: where it lies.
        command: as it would be typed.
        pictures: PNG files.
    """

    title: str
    folder: str
    command: str
    pictures: Sequence[bytes]


def report_page(
    title: str,
    facts: Sequence[str],
    tables: Sequence[ReportTable],
    runs: Sequence[RunSection],
    unfinished: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
) -> str:
    """The page.

    Args:
        title: of the page.
        facts: lines below the title.
        tables: in their order.
        runs: the finished ones.
        unfinished: folder and command of each.
        environment: versions by package.
    """
    body = "".join(map(_table, tables)) + "<h2>Runs</h2>" + "".join(map(_run, runs))
    if unfinished:
        body += "<h2>Without a result: killed, failed or still running</h2>"
        body += "".join(f"<h3>{escape(folder)}</h3>{_command(text)}" for folder, text in unfinished)
    versions = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in environment.items())
    body += f'<h2>Environment of this report</h2><table class="environment"><tbody>{versions}</tbody></table>'
    return whole_page(title, facts, f"{body}<script>{SCRIPT}</script>", OWN_STYLE)


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


def _run(run: RunSection) -> str:
    pictures = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{escape(run.title)}">'
        for picture in run.pictures
    )
    return (
        f'<h3>{escape(run.title)}</h3><p class="note">{escape(run.folder)}</p>{_command(run.command)}'
        f'<div class="pictures">{pictures}</div>\n'
    )


def _command(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"
