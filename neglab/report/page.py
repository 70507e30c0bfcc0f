"""A report as one HTML page that needs no other file: tables, pictures that compare, and each run with its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from neglab.pages.render import render
from neglab.plots.comparison import Chart
from neglab.plots.contact_sheet import LEGEND, Card
from neglab.report.curves import Curves
from neglab.results.tables import ReportTable

Environment = tuple[tuple[str, str], ...]  # name and value


class RunSection(NamedTuple):
    """One run on the page.

    Attributes:
        title: its method and seed.
        folder: where it lies.
        command: of this run alone.
        typed: what was typed: in a sweep the command of all its runs.
        pictures: PNG files, each with what it shows.
        cards: by heading, the images whose score is most wrong.
        environment: what computed it, by name.
    """

    title: str
    folder: str
    command: str
    typed: str
    pictures: Sequence[tuple[bytes, str]]
    cards: Mapping[str, Sequence[Card]]
    environment: Mapping[str, str]


class Block(NamedTuple):
    """Settings that are compared, since they share ID set, OOD sets and stream.

    Attributes:
        title: what they share.
        tables: in their order.
        charts: its methods side by side.
        notes: below the title.
    """

    title: str
    tables: Sequence[ReportTable]
    charts: Sequence[Chart]
    notes: Sequence[str] = ()


class Report(NamedTuple):
    """What stands on the page.

    Attributes:
        title: of the page.
        facts: lines below the title.
        blocks: what is compared.
        published: beside published numbers.
        curves: of what sweeps have varied.
        runs: the finished ones.
        unfinished: folder, command and, where it is known, what stopped it.
        damaged: what could not be read, and what to do.
        environment: of the report itself.
    """

    title: str
    facts: Sequence[str]
    blocks: Sequence[Block]
    published: Sequence[ReportTable]
    curves: Sequence[Curves]
    runs: Sequence[RunSection]
    unfinished: Sequence[tuple[str, str, str]]
    damaged: Sequence[str]
    environment: Mapping[str, str]

    @property
    def tables(self) -> list[ReportTable]:
        """All of them, as report.md and report.tex hold them; each names what its settings share."""
        several = len(self.blocks) > 1
        named = (
            table._replace(title=f"{block.title}. {table.title}") if several else table
            for block in self.blocks
            for table in block.tables
        )
        return [*named, *self.published]


def report_page(report: Report) -> str:
    """The page."""
    environments = _shared_environments(report)
    numbers = {environment: number for number, environment in enumerate(environments, start=1)}
    runs = [run._asdict() | {"environment": numbers[tuple(run.environment.items())]} for run in report.runs]
    listed = [{"lines": found, "titles": titles} for found, titles in environments.items()]
    values = report._asdict() | {"runs": runs, "environments": listed, "legend": LEGEND}
    del values["environment"]
    return render("report.html.j2", **values)


def _shared_environments(report: Report) -> dict[Environment, list[str]]:
    """Each once, with the runs that it computed, in the order in which the page numbers them."""
    shared: dict[Environment, list[str]] = {}
    for run in report.runs:
        shared.setdefault(tuple(run.environment.items()), []).append(run.title)
    shared.setdefault(tuple(report.environment.items()), []).append("this report")
    return shared
