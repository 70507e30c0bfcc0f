"""`neglab report`: all results below a folder in one place, beside the published numbers."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from neglab import __version__
from neglab.store import write_atomically
from neglab.tasks.aggregate import aggregate, summary_tables
from neglab.tasks.published import compare, comparison_tables
from neglab.tasks.report_intervals import (
    Resampled,
    check_bootstrap,
    interval_columns,
    interval_table,
    resample,
    significance_table,
)
from neglab.tasks.report_page import RunSection, report_page
from neglab.tasks.report_runs import Run, by_setting, command, find_runs, setting, unfinished_runs
from neglab.tasks.report_tables import ReportTable, for_console, latex, markdown, read
from neglab.tasks.results import write_rows
from neglab.types import UserError

FOLDERS = ("multirun", "outputs")  # where runs leave their results
PACKAGES = {"torch": "torch", "lightning": "lightning", "transformers": "transformers", "open_clip": "open_clip_torch"}
FACTS = (
    "A higher ID score means more in-distribution. Bold is the best of a column; a click on a heading sorts by it.",
    "FPR95 (ID+): share of OOD images accepted where ID recall is nearest to 95%. FPR95 (OOD+): share of ID images "
    "rejected at the first threshold that catches 95% of the OOD images.",
)

Row = dict[str, Any]
Setting = tuple[str, str, str]


def run(config: DictConfig) -> None:
    """Average the results over seeds and compare them; shows the tables and writes them as report.* in four formats.

    Raises:
        UserError: no such folder, no results below it, a damaged file, or a bootstrap that cannot be.
    """
    check_bootstrap(**config.bootstrap)
    folders = list(map(Path, FOLDERS)) if config.results is None else [Path(str(config.results)).expanduser()]
    if config.results is not None and not folders[0].is_dir():
        raise UserError(f"results must be a folder; got {folders[0]}. Give that of a run, of a sweep, or one above.")
    runs = [found for folder in folders for found in find_runs(folder)]
    unfinished = [found for folder in folders for found in unfinished_runs(folder)]
    if not runs:
        raise UserError(
            f"A report needs a finished run; there is no results.csv below {' or '.join(map(str, folders))}. "
            "Run something first, or say where the results are: neglab report results=FOLDER"
        )
    console = Console()
    rows = aggregate([row for found in runs for row in found.rows])
    resampled = _resample_all(runs, config.bootstrap, console)
    compared = [row | _intervals(row, resampled, config.bootstrap.level) for row in compare(rows)]
    methods = method_tables(rows, resampled, config.bootstrap.level)
    published = comparison_tables(compared)
    _write(Path(config.paths.output), compared, [*methods, *map(read, published)], runs, unfinished)
    console.print(*map(for_console, methods), *published, sep="\n")
    if unfinished:
        console.print(f"Without a result (killed, failed or still running): {len(unfinished)}", highlight=False)
        console.print(*unfinished, sep="\n", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Everything is in {config.paths.output}", highlight=False, markup=False, soft_wrap=True)


def _resample_all(runs: Sequence[Run], bootstrap: DictConfig, console: Console) -> dict[Setting, Resampled | None]:
    """Each setting on resampled images; empty where no intervals are wanted."""
    if bootstrap.resamples is None:
        return {}
    settings = by_setting(runs).items()
    shown = track(settings, "Drawing images anew", console=console, transient=True, disable=not console.is_terminal)
    return {key: resample(members, bootstrap.resamples, bootstrap.seed) for key, members in shown}


def _intervals(row: Row, resampled: Mapping[Setting, Resampled | None], level: float) -> Row:
    return interval_columns(resampled.get(setting(row)), row["ood_dataset"], level)


def method_tables(
    rows: Sequence[Row], resampled: Mapping[Setting, Resampled | None], level: float
) -> list[ReportTable]:
    """Methods against each other, where they compete: on one ID set, and apart where they learn from a stream.

    Args:
        rows: of `aggregate`.
        resampled: by setting; empty: no intervals.
        level: of the intervals.
    """
    blocks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        blocks.setdefault(setting(row)[:2], []).append(row)
    tables: list[ReportTable] = []
    several = len({id_dataset for id_dataset, _ in blocks}) > 1
    for (id_dataset, stream), block in blocks.items():
        prefix = f"{id_dataset}. " if several else ""
        tables += [table._replace(title=prefix + table.title) for table in map(read, summary_tables(block))]
        if resampled:
            prefix += "" if stream == "none" else f"Adaptive ({stream}). "
            means = {setting(row)[2]: row for row in block if row["ood_dataset"] == "mean"}
            drawn = {label: resampled[id_dataset, stream, label] for label in means}
            paired = significance_table(means, drawn, level, prefix)
            tables += [interval_table(means, drawn, level, prefix), *([paired] if paired else [])]
    return tables


def _write(
    folder: Path, compared: Sequence[Row], tables: Sequence[ReportTable], runs: Sequence[Run], unfinished: list[Path]
) -> None:
    """report.csv, report.md, report.tex and report.html, each whole or not at all."""
    write_rows(folder / "report.csv", compared)
    missing = "".join(f"\nWithout a result: {path}\n" for path in unfinished)
    write_atomically(folder / "report.md", (markdown(tables) + missing).encode())
    write_atomically(folder / "report.tex", latex(tables).encode())
    sections = [
        RunSection(f"{found.setting[2]} seed {found.seeds[0]}", str(found.folder), command(found.folder), pictures)
        for found in runs
        for pictures in [found.pictures()]
    ]
    page = report_page(
        title="neglab report",
        facts=[f"{len(runs)} finished runs, {len(unfinished)} without a result.", *FACTS],
        tables=tables,
        runs=sections,
        unfinished=[(str(path), command(path)) for path in unfinished],
        environment=environment(),
    )
    write_atomically(folder / "report.html", page.encode())


def environment() -> dict[str, str]:
    """The versions of what computes."""
    packages = {name: version(package) for name, package in PACKAGES.items()}
    return {"neglab": __version__, **packages, "python": platform.python_version(), "system": platform.platform()}
