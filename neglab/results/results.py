"""A run's truth: metrics.json, results.csv and table.md in its folder."""

import csv
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from neglab.csv_cells import guarded
from neglab.embedding.store import write_atomically
from neglab.files import written_atomically
from neglab.metrics.merged import SortedScores
from neglab.types import LabelSet, ScoredPair, UserError

MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]<>|]|&(?=[#\w]))")
METRICS = ("auroc", "fpr95_id_positive", "fpr95_ood_positive", "aupr_in", "aupr_out")
AVERAGED = (*METRICS, "id_accuracy")
SEEDS = ("seed", "stream_seed")
HEADINGS = ("AUROC ↑", "FPR95 (ID+) ↓", "FPR95 (OOD+) ↓", "AUPR-in ↑", "AUPR-out ↑")

IN_MEMORY = 2**23  # scores that are sorted in memory, which takes 40 bytes each: 340 MB

Row = dict[str, Any]


def measure(pairs: Sequence[ScoredPair]) -> dict[str, float]:
    """All metrics of a run, as fractions, under the flat keys of metrics.json."""
    from neglab.metrics import IDAccuracy  # here: it brings torchmetrics, for which readers of results need not wait

    result: dict[str, float] = {}
    for pair in pairs:
        accuracy = IDAccuracy()
        accuracy.update(pair.id_images.predicted, pair.id_images.labels)
        result[f"ood/{pair.ood_images.dataset}/id_accuracy"] = float(accuracy.compute())
        found = detection(pair.id_images.scores, pair.ood_images.scores).items()
        result |= {f"ood/{pair.ood_images.dataset}/{name}": float(value) for name, value in found}
    for name in METRICS:
        values = [result[f"ood/{pair.ood_images.dataset}/{name}"] for pair in pairs]
        result[f"ood/mean/{name}"] = sum(values) / len(values)
    # One that learns from the stream may predict other classes beside each OOD set.
    accuracies = [result[f"ood/{pair.ood_images.dataset}/id_accuracy"] for pair in pairs]
    result["id/accuracy"] = result["ood/mean/id_accuracy"] = sum(accuracies) / len(accuracies)
    return result


def detection(id_scores: Float[Tensor, " N"], ood_scores: Float[Tensor, " K"]) -> Mapping[str, Tensor | float]:
    """The detection metrics; very many scores are sorted on the disk (TMPDIR) instead of in memory."""
    from neglab.metrics import DetectionMetrics

    batches = [
        (scores, torch.full((len(scores),), is_id)) for scores, is_id in ((id_scores, True), (ood_scores, False))
    ]
    if len(id_scores) + len(ood_scores) > IN_MEMORY:
        with TemporaryDirectory(prefix="neglab-") as folder:
            merged = SortedScores(Path(folder))
            for batch in batches:
                merged.add(*batch)
            return merged.metrics()
    metrics = DetectionMetrics()
    for batch in batches:
        metrics.update(*batch)
    return metrics.compute()


def result_rows(description: Mapping[str, Any], metrics: Mapping[str, float]) -> list[Row]:
    """One row per OOD set, their mean last; every row carries what the numbers depend on."""
    datasets = [key.split("/")[1] for key in metrics if key.startswith("ood/") and key.endswith("/auroc")]
    return [
        {
            **description,
            "ood_dataset": dataset,
            **{name: metrics[f"ood/{dataset}/{name}"] for name in METRICS},
            "id_accuracy": metrics[f"ood/{dataset}/id_accuracy"],
        }
        for dataset in datasets
    ]


def method_label(row: Mapping[str, Any]) -> str:
    """The method with the user's overrides, as every table names a setting."""
    return " ".join(filter(None, (row["method"], row["overrides"])))


def pipe_table(
    headings: Sequence[str],
    rule: Sequence[str],
    rows: Iterable[Sequence[str]],
    bold: Collection[tuple[int, int]] = (),
) -> str:
    """A Markdown table of plain text.

    Args:
        headings: of the columns.
        rule: the line below the headings, which says how each column is aligned.
        rows: of as many cells.
        bold: row and column of the cells in bold.
    """
    lines = [[*map(markdown_text, headings)], rule]
    for i, row in enumerate(rows):
        cells = map(markdown_text, row)
        lines.append([f"**{cell}**" if (i, j) in bold else cell for j, cell in enumerate(cells)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split("\n")))


def rich_table(rows: Sequence[Row], title: str) -> Table:
    """The rows for the console, in percent."""
    table = Table(title=title, title_justify="left")
    table.add_column("OOD set")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        if row["ood_dataset"] == "mean":
            table.add_section()
        table.add_row(escape(row["ood_dataset"]), *_percents(row))
    return table


def write_results(folder: Path, rows: Sequence[Row], metrics: Mapping[str, float]) -> None:
    """Write metrics.json, results.csv and table.md, each whole or not at all.

    Raises:
        UserError: the disk is full.
    """
    write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=1, sort_keys=True) + "\n").encode())
    write_csv(folder / "results.csv", list(rows[0]), [list(row.values()) for row in rows])
    headings, rule = ["OOD set", *HEADINGS], ["---", *["---:"] * len(HEADINGS)]
    table = pipe_table(headings, rule, ([row["ood_dataset"], *_percents(row)] for row in rows))
    if num_unclear := metrics.get("filter/num_unclear"):
        table += f"\nAnswers of the filter's language model that were unclear and count as no: {num_unclear:g}.\n"
    write_atomically(folder / "table.md", table.encode())


NEGATIVE_LABEL_COLUMNS = ("rank", "label", "part_of_speech", "similarity", "synset")


def negative_label_rows(negatives: LabelSet, similarity: torch.Tensor) -> list[tuple[Any, ...]]:
    """The chosen negatives in the order in which the score takes them; `corpus=file` reads them back."""
    columns = (negatives.names, negatives.parts_of_speech, similarity.tolist(), negatives.synsets)
    return [
        (rank, name, part_of_speech, f"{value:.6f}", synset or "")
        for rank, (name, part_of_speech, value, synset) in enumerate(zip(*columns, strict=True), start=1)
    ]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a header, UTF-8, whole or not at all; `TableReader` reads it back. Rows may come one by one."""
    write_guarded_csv(path, header, ([guarded(cell) for cell in row] for row in rows))


def write_guarded_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The same, of rows whose text is `guarded`."""
    with written_atomically(path, None) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        text.detach()  # what it still held is written, and the file stays open


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A CSV file of rows that need not have the same columns."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, header, [[row.get(key, "") for key in header] for row in rows])


def unreadable(path: Path, error: Exception) -> UserError:
    """What to raise where a file that a run left is damaged."""
    return UserError(
        f"A run's files must be as the run left them; {path} cannot be read ({type(error).__name__}: {error}). "
        "Run it again, or move the file away."
    )


def _percents(row: Mapping[str, Any]) -> list[str]:
    return [f"{100 * row[name]:.2f}" for name in METRICS]
