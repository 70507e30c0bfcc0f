"""`neglab report`: all results below a folder in one place, beside the published numbers."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from neglab.config_check import MEAN
from neglab.embedding.store import write_atomically
from neglab.report.cards import cards, small_picture
from neglab.report.comparison import compared
from neglab.report.curves import curves
from neglab.report.intervals import Resampled, interval_columns, resample
from neglab.report.page import Report, RunSection, report_page
from neglab.report.runs import (
    Run,
    Setting,
    by_setting,
    command,
    find_runs,
    setting,
    settled_runs,
    unfinished_runs,
    whole,
)
from neglab.results.aggregate import aggregate
from neglab.results.environment import environment
from neglab.results.failures import reason_of
from neglab.results.published import compare, comparison_tables
from neglab.results.results import write_rows
from neglab.results.tables import for_console, latex, markdown, read
from neglab.types import UserError

FOLDERS = ("multirun", "outputs")  # where runs leave their results
FACTS = (
    "A higher ID score means more in-distribution. Bold is the best of a column; a click on a heading sorts by it.",
    "FPR95 (ID+): share of OOD images accepted where ID recall is nearest to 95%. FPR95 (OOD+): share of ID images "
    "rejected at the first threshold that catches 95% of the OOD images.",
    "Images are shown where they lie in one of the folders that the option pictures names.",
)

Row = dict[str, Any]


def run(config: DictConfig) -> None:
    """Average the results over seeds and compare them; shows the tables and writes them as report.* in four formats.

    What is damaged is named and left out.

    Raises:
        UserError: no such folder, no readable results below it, or a full disk.
    """
    folders = list(map(Path, FOLDERS)) if config.runs is None else [Path(str(config.runs)).expanduser()]
    if config.runs is not None and not folders[0].is_dir():
        raise UserError(f"runs must be a folder; got {folders[0]}. Give that of a run, of a sweep, or one above.")
    damaged: list[str] = []
    runs = [found for folder in folders for found in find_runs(folder, damaged)]
    unfinished = [found for folder in folders for found in unfinished_runs(folder)]
    if not runs:
        raise UserError(
            f"A report needs a finished run; there is no readable results.csv below {' or '.join(map(str, folders))}. "
            "Run something first, or say where the results are: neglab report runs=FOLDER"
            + "".join(f"\n{text}" for text in damaged)
        )
    console = Console()
    typed = aggregate([row for found in runs for row in found.rows])  # by what was typed, for the curves
    runs, level = settled_runs(runs), config.bootstrap.level
    rows = aggregate([row for found in runs for row in found.rows])
    means = [row for row in rows if row["ood_dataset"] == MEAN]
    resampled = _resample_all(runs, config.bootstrap, damaged, console)
    with_published = [row | _intervals(row, resampled, level) for row in compare(rows)]
    published = comparison_tables([row for row in with_published if row.get("published_source")])
    page = Report(
        title="neglab report",
        facts=[f"{len(runs)} finished runs, {len(unfinished)} without a result.", *FACTS],
        blocks=compared(rows, by_setting(runs), resampled, level, damaged),
        published=list(map(read, published)),
        curves=curves(typed, {row.get("config", ""): _intervals(row, resampled, level) for row in means}),
        runs=_sections(runs, config.num_examples, picture_folders(config.pictures), damaged),
        unfinished=[(str(path), command(path), reason_of(path)) for path in unfinished],
        damaged=damaged,
        environment=_without_command(environment()),
    )
    # Before anything is written: a full disk takes no table from the screen.
    own = page.tables[: len(page.tables) - len(page.published)]
    console.print(*(part for table in own for part in for_console(table, console.width)), *published, sep="\n")
    _list(console, "Without a result (killed, failed or still running)", list(map(str, unfinished)))
    _list(console, "Damaged and left out", damaged)
    _write(Path(config.paths.output), with_published, page)
    console.print(f"Everything is in {config.paths.output}", highlight=False, markup=False, soft_wrap=True)


def _list(console: Console, heading: str, lines: Sequence[str]) -> None:
    if lines:
        console.print(f"{heading}: {len(lines)}", highlight=False)
        console.print(*lines, sep="\n", highlight=False, markup=False, soft_wrap=True)


def _resample_all(
    runs: Sequence[Run], bootstrap: DictConfig, damaged: list[str], console: Console
) -> dict[Setting, Resampled | None]:
    """Each setting on resampled images; empty where no intervals are wanted."""
    if bootstrap.resamples is None:
        return {}
    settings = by_setting(runs).items()
    shown = track(settings, "Drawing images anew", console=console, transient=True, disable=not console.is_terminal)
    return {
        key: whole(partial(resample, members, bootstrap.resamples, bootstrap.seed), damaged) for key, members in shown
    }


def _intervals(row: Row, resampled: Mapping[Setting, Resampled | None], level: float) -> Row:
    return interval_columns(resampled.get(setting(row)), row["ood_dataset"], level)


def picture_folders(given: str | Sequence[str]) -> list[Path]:
    """The folders whose images the page may show."""
    listed = [given] if isinstance(given, str) else given
    return [Path(folder).expanduser().absolute() for folder in listed]


def _sections(runs: Sequence[Run], num_examples: int, folders: list[Path], damaged: list[str]) -> list[RunSection]:
    """What the page says of each run."""
    sections, picture = [], cache(partial(small_picture, folders=folders))  # the runs of a sweep share many images
    for found in runs:
        computed_by = whole(found.environment, damaged) or {}
        sections.append(
            RunSection(
                title=found.title,
                folder=str(found.folder),
                command=command(found.folder),
                typed=computed_by.get("command", ""),
                pictures=whole(found.pictures, damaged) or [],
                cards=cards(whole(found.examples, damaged) or [], num_examples, picture),
                environment=_without_command(computed_by),
            )
        )
    return sections


def _without_command(computed_by: Mapping[str, str]) -> dict[str, str]:
    """Software and machine alone, so that runs can share them."""
    return {name: text for name, text in computed_by.items() if name != "command"}


def _write(folder: Path, compared: Sequence[Row], page: Report) -> None:
    """report.csv, report.md, report.tex and report.html, each whole or not at all."""
    write_rows(folder / "report.csv", compared)
    missing = "".join(f"\nWithout a result: {path}\n" for path, *_ in page.unfinished)
    missing += "".join(f"\nDamaged and left out: {text}\n" for text in page.damaged)
    write_atomically(folder / "report.md", (markdown(page.tables) + missing).encode())
    write_atomically(folder / "report.tex", latex(page.tables).encode())
    write_atomically(folder / "report.html", report_page(page).encode())
