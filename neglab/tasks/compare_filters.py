"""`neglab compare_filters`: how far two label filters agree, and on which labels they do not."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from neglab.csv_cells import TableReader
from neglab.embedding.store import write_atomically
from neglab.files import open_table
from neglab.results.results import write_csv
from neglab.types import UserError

FILE = "filter_verdicts.csv"
NEEDED_COLUMNS = ("label", "verdict", "reason", "class")
VERDICTS = ("kept", "dropped")
# What a verdict may rest on, as compared here: an ID class itself counts as one of its subcategories.
KINDS = {"": "", "proper noun": "proper noun", "subcategory": "subcategory", "the same": "subcategory"}
COMPARED = ("", "proper noun", "subcategory")  # "": dropped for whichever of the reasons
DISAGREEMENT_COLUMNS = ("label", "dropped_by", "reason", "class")
NUM_SHOWN = 10  # labels per filter on the console


@dataclass(frozen=True)
class Verdict:
    """What a filter made of one label.

    Attributes:
        dropped: the label does not go on.
        reason: why, as the filter says.
        class_name: the ID class that the reason names, or "".
    """

    dropped: bool
    reason: str
    class_name: str

    def drops_for(self, kind: str) -> bool:
        """Whether it drops the label for this kind of reason, "": for any."""
        return self.dropped and (not kind or KINDS[self.reason] == kind)


@dataclass(frozen=True)
class Verdicts:
    """The judged labels of one run.

    Attributes:
        path: the file.
        by_label: of a label that stands more than once, the first verdict.
        num_repeated: later rows of such labels.
        num_not_judged: labels without a verdict on their meaning: too short, merged, or left without an answer.
    """

    path: Path
    by_label: dict[str, Verdict]
    num_repeated: int
    num_not_judged: int


@dataclass(frozen=True)
class Share:
    """Drops that both filters agree on, among each one's drops.

    Attributes:
        reference: labels that the reference drops.
        candidate: labels that the candidate drops.
        both: labels that both drop.
    """

    reference: int
    candidate: int
    both: int

    @property
    def precision(self) -> float | None:
        """The part of the candidate's drops that the reference drops too; None where there are none."""
        return self.both / self.candidate if self.candidate else None

    @property
    def recall(self) -> float | None:
        """The part of the reference's drops that the candidate drops too; None where there are none."""
        return self.both / self.reference if self.reference else None


@dataclass(frozen=True)
class Comparison:
    """Two filters on the labels that both judged.

    Attributes:
        reference: its drops are what the candidate should drop.
        candidate: the other.
        shared: the labels, in the reference's order.
    """

    reference: Verdicts
    candidate: Verdicts
    shared: Sequence[str]

    @property
    def sides(self) -> dict[str, Verdicts]:
        return {"reference": self.reference, "candidate": self.candidate}

    @property
    def agreement(self) -> float:
        """The fraction of the labels that both keep or both drop, for whatever reason."""
        reference, candidate = self.reference.by_label, self.candidate.by_label
        return sum(reference[label].dropped == candidate[label].dropped for label in self.shared) / len(self.shared)

    def share(self, kind: str) -> Share:
        """Drops for one kind of reason, "": for any."""
        wanted, given = (
            {label for label in self.shared if verdicts.by_label[label].drops_for(kind)}
            for verdicts in (self.reference, self.candidate)
        )
        return Share(len(wanted), len(given), len(wanted & given))

    def disagreements(self) -> list[tuple[str, str, str, str]]:
        """The labels that only one filter drops, the reference's first, each with why."""
        sides = (("reference", self.reference, self.candidate), ("candidate", self.candidate, self.reference))
        return [
            (label, name, one.by_label[label].reason, one.by_label[label].class_name)
            for name, one, other in sides
            for label in self.shared
            if one.by_label[label].dropped and not other.by_label[label].dropped
        ]

    def num_alone(self, verdicts: Verdicts) -> int:
        """Labels that this one of the two judged and the other did not."""
        return len(verdicts.by_label) - len(self.shared)


def run(config: DictConfig) -> None:
    """Compare two runs' verdicts; writes agreement.json and disagreements.csv and shows a table.

    Raises:
        UserError: a file is missing or foreign, or no label was judged by both filters.
    """
    comparison = compare(
        read_verdicts(str(config.reference), "reference"), read_verdicts(str(config.candidate), "candidate")
    )
    folder = Path(config.paths.output)
    content = json.dumps(summary(comparison), indent=1, sort_keys=True)
    write_atomically(folder / "agreement.json", f"{content}\n".encode())
    write_csv(folder / "disagreements.csv", DISAGREEMENT_COLUMNS, comparison.disagreements())
    show(comparison)
    Console().print(f"Everything is in {folder}", highlight=False, markup=False, soft_wrap=True)


def compare(reference: Verdicts, candidate: Verdicts) -> Comparison:
    """Put two runs' verdicts side by side.

    Raises:
        UserError: they have no label in common.
    """
    shared = [label for label in reference.by_label if label in candidate.by_label]
    if not shared:
        raise UserError(
            f"The two runs must have judged at least one label in common; {reference.path} and {candidate.path} share "
            "none. Compare runs with the same corpus and negative_selector."
        )
    return Comparison(reference, candidate, shared)


def read_verdicts(place: str, key: str) -> Verdicts:
    """The verdicts of a run.

    Args:
        place: the run's folder, or the file itself.
        key: what the user calls it, for messages.

    Raises:
        UserError: the file is missing, is none of a filter's, or judges no label.
    """
    path = Path(str(place)).expanduser()
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"{key} must be the folder of a run whose llm_filter judged labels, or its {FILE}; there is no {path}."
        )
    foreign = f"{key} must be a {FILE} with the columns {', '.join(NEEDED_COLUMNS)}; {path}"
    try:
        with open_table(path) as file:
            reader = TableReader(file)
            columns = reader.fieldnames or ()
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{foreign} is no CSV file in UTF-8 ({error}).") from error
    if missing := [column for column in NEEDED_COLUMNS if column not in columns]:
        raise UserError(f"{foreign} lacks {', '.join(missing)}.")
    found: dict[str, Verdict] = {}
    num_not_judged = 0
    for number, row in enumerate(rows, start=1):
        if row["verdict"] not in VERDICTS:
            raise UserError(f"{foreign} has the verdict {row['verdict']!r} in row {number}, not kept or dropped.")
        verdict = Verdict(row["verdict"] == "dropped", row["reason"] or "", row["class"] or "")
        num_not_judged += row["label"] not in found and verdict.reason not in KINDS
        found.setdefault(row["label"], verdict)
    judged = {label: verdict for label, verdict in found.items() if verdict.reason in KINDS}
    if not judged:
        raise UserError(f"{foreign} judges no label. Give a run whose llm_filter is not none.")
    return Verdicts(path, judged, len(rows) - len(found), num_not_judged)


def summary(comparison: Comparison) -> dict[str, int | float | str | None]:
    """What agreement.json holds: counts, and fractions in [0, 1] or null where nothing was dropped."""
    result: dict[str, int | float | str | None] = {
        "num_judged_by_both": len(comparison.shared),
        "agreement": comparison.agreement,
    }
    for name, verdicts in comparison.sides.items():
        result |= {
            f"{name}/path": str(verdicts.path),
            f"{name}/num_judged_by_it_alone": comparison.num_alone(verdicts),
            f"{name}/num_not_judged": verdicts.num_not_judged,
            f"{name}/num_repeated": verdicts.num_repeated,
        }
    for kind in COMPARED:
        prefix, counts = f"{kind.replace(' ', '_')}/" if kind else "", comparison.share(kind)
        result |= {
            f"{prefix}num_dropped_by_reference": counts.reference,
            f"{prefix}num_dropped_by_candidate": counts.candidate,
            f"{prefix}num_dropped_by_both": counts.both,
            f"{prefix}precision": counts.precision,
            f"{prefix}recall": counts.recall,
        }
    return result


def show(comparison: Comparison) -> None:
    """The table, the labels that only one filter drops, and the rows that do not count."""
    console = Console()
    title = f"{len(comparison.shared)} labels judged by both, {100 * comparison.agreement:.2f}% alike"
    table = Table(title=title, title_justify="left")
    table.add_column("dropped as")
    for heading in ("by reference", "by candidate", "by both", "precision ↑", "recall ↑"):
        table.add_column(heading, justify="right")
    for kind in COMPARED:
        counts = comparison.share(kind)
        numbers = (counts.reference, counts.candidate, counts.both)
        table.add_row(kind or "anything", *map(str, numbers), *map(_percent, (counts.precision, counts.recall)))
        if not kind:
            table.add_section()
    console.print(table)
    rows, lines = comparison.disagreements(), []
    for name, verdicts in comparison.sides.items():
        labels = [label for label, dropped_by, *_ in rows if dropped_by == name]
        shown = ", ".join([*labels[:NUM_SHOWN], *["..."] * (len(labels) > NUM_SHOWN)])
        lines.append(f"Dropped by the {name} alone: {len(labels)}" + f" ({shown})" * bool(labels))
        left_out = {
            "judged by it alone": comparison.num_alone(verdicts),
            "too short, merged or without an answer": verdicts.num_not_judged,
            "later rows of a label": verdicts.num_repeated,
        }
        if told := [f"{count} {what}" for what, count in left_out.items() if count]:
            lines.append(f"Left out of the {name}: {', '.join(told)}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
