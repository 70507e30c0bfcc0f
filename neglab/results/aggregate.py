"""Mean and standard deviation over the seeds of a multirun."""

import csv
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from neglab.compose import make
from neglab.config_check import MEAN, check_set_name
from neglab.csv_cells import TableReader
from neglab.embedding.store import write_atomically
from neglab.files import open_table
from neglab.logger.base import Job, RunLogger
from neglab.results.failures import describe_failures, failures
from neglab.results.labels import Benchmark, blocks, settled, short_labels, titles
from neglab.results.published import compare, comparison_tables
from neglab.results.results import AVERAGED, HEADINGS, METRICS, SEEDS, method_label, unreadable, write_rows
from neglab.results.tables import ReportTable, for_console, markdown, read
from neglab.types import UserError

Row = dict[str, Any]


def collect_rows(folder: Path) -> list[Row]:
    """The result rows of every finished run below a folder; killed runs have none and are passed over.

    Raises:
        UserError: a results.csv is none of neglab's, or damaged.
    """
    return [row for path in result_files(folder) for row in read_results(path)]


def result_files(folder: Path) -> list[Path]:
    """The results.csv of every finished run below a folder: the nearest first, job 2 before job 10."""
    return sorted(folder.rglob("results.csv"), key=lambda path: (len(path.parts), _by_number(path)))


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Text and numbers by turns, numbers by their size."""
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", str(path))]


def read_results(path: Path) -> list[Row]:
    """The result rows of one run.

    Raises:
        UserError: it is none of neglab's, or damaged.
    """
    try:
        with open_table(path) as file:
            rows: list[Row] = list(TableReader(file))
        rows = [row | {name: float(row[name]) for name in AVERAGED} for row in rows]
        rows = [row | {"num_negatives": int(row["num_negatives"])} for row in rows]
        if any(not row["method"] or row["overrides"] is None or None in row for row in rows):
            raise ValueError("a row without a method, or with more cells than there are headings")
        if not all(str(cell).isprintable() for row in rows for cell in row.values()):
            raise ValueError("a character that is not printable")
        for row in rows:
            if row["ood_dataset"] != MEAN:
                check_set_name(row["ood_dataset"])  # it names files of the run's folder
        if MEAN not in {row["ood_dataset"] for row in rows}:
            raise ValueError("no row of the mean over the OOD sets")
    except (OSError, csv.Error, KeyError, TypeError, ValueError, UserError) as error:
        raise unreadable(path, error) from error
    return rows


def aggregate(rows: Sequence[Row]) -> list[Row]:
    """Mean and sample standard deviation over runs that differ in nothing but their seed.

    Returns:
        One row per setting and OOD set, in order of first appearance: the setting, `num_seeds`, and `<metric>_mean`
        and `<metric>_std` (empty with one seed) as fractions.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        # A seed may leave other numbers of negatives, and of unclear answers about them.
        varying = (*AVERAGED, *SEEDS, "num_negatives", "num_unclear")
        setting = tuple((key, value) for key, value in row.items() if key not in varying)
        groups.setdefault(setting, []).append(row)
    result = []
    for setting, members in groups.items():
        # The same seeds twice are one observation: a sweep may have been resumed.
        members = list({tuple(row.get(name, "") for name in SEEDS): row for row in members}.values())
        num_negatives = statistics.fmean(row["num_negatives"] for row in members)
        summary: Row = {**dict(setting), "num_seeds": len(members), "num_negatives": f"{num_negatives:g}"}
        for name in AVERAGED:
            values = [row[name] for row in members]
            summary[f"{name}_mean"] = statistics.fmean(values)
            summary[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else ""
        result.append(summary)
    return result


def summary_tables(rows: Sequence[Row]) -> list[ReportTable]:
    """In percent, one line per setting: the means over the OOD sets, and AUROC for each set.

    Only settings with one ID set, one list of OOD sets and one stream stand in a table. Scores that learn from the test
    stream see more than those of a single image.
    """
    tables: list[ReportTable] = []
    found = blocks(rows)
    for (place, block), title in zip(found.items(), titles(list(found)).values(), strict=True):
        tables += method_tables(place, block, title if len(found) > 1 or place.stream != "none" else "")
    return tables


def method_tables(place: Benchmark, rows: Sequence[Row], title: str) -> list[ReportTable]:
    """The two tables of one benchmark.

    Args:
        place: what the settings share.
        rows: of it.
        title: of the benchmark; empty: there is but one.
    """
    shared, short = short_labels(rows)
    prefix = "".join(f"{part}. " for part in (title, f"All: {shared}" if shared else "") if part)
    settings: dict[str, dict[str, Row]] = {}
    for row in rows:
        settings.setdefault(method_label(row), {})[row["ood_dataset"]] = row
    means, aurocs = [], []
    for label, by_dataset in settings.items():
        mean = by_dataset[MEAN]
        used = "yes" if mean.get("uses_id_images") == "True" else "no"
        cells = (_cell(mean, name) for name in ("id_accuracy", *METRICS[:3]))
        means.append((short[label], str(mean["num_seeds"]), used, *cells))
        cells = (_cell(by_dataset[name], "auroc") for name in place.ood_datasets)
        aurocs.append((short[label], *cells))
    headings = ("method", "seeds", "ID images", "ID acc. ↑", *HEADINGS[:3])
    return [
        ReportTable(f"{prefix}Mean over the OOD sets, in percent", headings, tuple(means)),
        ReportTable(f"{prefix}AUROC ↑ by OOD set, in percent", ("method", *place.ood_datasets), tuple(aurocs)),
    ]


def write_aggregate(folder: Path, rows: Sequence[Row]) -> tuple[list[ReportTable], list[Table]]:
    """Write aggregate.csv and aggregate.md beside the runs; no table where no run has finished.

    Args:
        folder: of the sweep.
        rows: of `aggregate`.

    Returns:
        The tables of the methods, and those beside published numbers.
    """
    if not rows:
        return [], []
    write_rows(folder / "aggregate.csv", rows)
    compared = [row for row in compare(rows) if row.get("published_source")]
    methods, published = summary_tables(rows), comparison_tables(compared)
    write_atomically(folder / "aggregate.md", markdown([*methods, *map(read, published)]).encode())
    return methods, published


def _cell(row: Row, name: str) -> str:
    mean, deviation = row[f"{name}_mean"], row[f"{name}_std"]
    return f"{100 * mean:.2f}" + (f" ± {100 * deviation:.2f}" if deviation != "" else "")


class AggregateSeeds(Callback):
    """At the end of a multirun, writes, shows and logs the table over its jobs, and names those that failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        problems: list[str] = []
        try:
            finish_sweep(folder, config)
        except UserError as error:
            problems.append(str(error))
        if failed := failures(folder):
            problems.append(describe_failures(failed))
        if problems:
            sys.exit("\n".join(problems))  # Hydra turns all other exceptions of a callback into warnings


def finish_sweep(folder: Path, config: DictConfig) -> None:
    """Write, show and log the table over the jobs of a sweep that have finished."""
    console = Console()
    rows = aggregate(settled(collect_rows(folder)))
    methods, published = write_aggregate(folder, rows)
    if methods:
        console.print(*(part for table in methods for part in for_console(table, console.width)), *published, sep="\n")
        console.print(f"Written to {folder}/aggregate.csv and aggregate.md", highlight=False)
        log_aggregate(folder, rows, list(config.hydra.overrides.task), make(config.logger))


def sweep_name(folder: str | Path) -> str:
    """What all jobs of a sweep share in a dashboard: the end of their folder, such as "2026-01-31-23-59-59"."""
    return "-".join(Path(folder).absolute().parts[-2:])


def log_aggregate(folder: Path, rows: Sequence[Row], overrides: Sequence[str], logger: RunLogger) -> None:
    """The table over a sweep's jobs as a run of its own beside theirs."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    # An empty cell becomes None: W&B refuses text in a column of numbers.
    cells = [[None if row.get(name, "") == "" else row[name] for name in columns] for row in rows]
    try:
        logger.start({"overrides": list(overrides)}, Job("aggregate", folder, sweep_name(folder), ()))
        logger.log_table("aggregate", columns, cells)
    finally:
        logger.finish()
