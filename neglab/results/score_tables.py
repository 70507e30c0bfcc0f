"""scores/: the ID score, class and predicted class of every image, as CSV or as Parquet; written and read in chunks."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.csv_cells import TableReader, guarded_column
from neglab.files import open_table
from neglab.metrics.merged import SortedScores
from neglab.results.results import unreadable, write_guarded_csv
from neglab.types import ScoredPair, ScoreTable

Form = Literal["csv", "parquet"]

FOLDER = "scores"
COLUMNS = ("path", "id_score", "class", "predicted_class")
CHUNK = 2**16  # rows in memory, and in a row group of Parquet
BATCH = 2**20  # scores of a table that are read at once
DAMAGED = (OSError, csv.Error, KeyError, TypeError, ValueError)


def write_scores(folder: Path, pairs: Sequence[ScoredPair], id_names: Sequence[str], form: Form) -> None:
    """Write scores/<dataset>.csv or .parquet: path, score, label and predicted class of each image.

    The ID images stand in id.csv, or in id_<dataset>.csv where each OOD set's stream scores them anew.

    Raises:
        UserError: the disk is full.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    for table in {id(table): table for pair in pairs for table in (pair.id_images, pair.ood_images)}.values():
        path = folder / FOLDER / f"{table.dataset}.{form}"
        if form == "csv":
            write_guarded_csv(path, COLUMNS, _rows(table, id_names))
        else:
            from neglab.results.parquet_scores import write_table

            write_table(path, COLUMNS, _chunks(table), id_names)


def find_table(folder: Path, dataset: str) -> Path | None:
    """Where a run's folder has the scores of a set; None: nowhere."""
    paths = (folder / FOLDER / f"{dataset}.{form}" for form in ("csv", "parquet"))
    return next((path for path in paths if path.is_file()), None)


def read_scores(path: Path) -> tuple[tuple[str, ...], Float[Tensor, " N"]]:
    """Paths and ID scores of a table, in the order of the paths.

    Raises:
        UserError: the table is damaged.
    """
    try:
        if path.suffix == ".parquet":
            from neglab.results.parquet_scores import read_columns

            rows = sorted(zip(*read_columns(path, COLUMNS[:2]), strict=True))
        else:
            with open_table(path) as file:
                rows = sorted((row["path"], float(row["id_score"])) for row in TableReader(file))
        if not rows:
            raise ValueError("no image")
        return tuple(name for name, _ in rows), torch.tensor([score for _, score in rows], dtype=torch.float64)
    except DAMAGED as error:
        raise unreadable(path, error) from error


def read_batches(path: Path) -> Iterator[Float[Tensor, " _"]]:
    """The ID scores of a table in its order, a part of them at a time.

    Raises:
        UserError: the table is damaged.
    """
    try:
        if path.suffix == ".parquet":
            from neglab.results import parquet_scores

            yield from parquet_scores.read_batches(path, BATCH)
        else:
            with open_table(path) as file:
                scores = (float(row["id_score"]) for row in TableReader(file))
                while part := list(islice(scores, BATCH)):
                    yield torch.tensor(part, dtype=torch.float64)
    except DAMAGED as error:
        raise unreadable(path, error) from error


def merged_metrics(id_tables: Sequence[Path], ood_tables: Sequence[Path]) -> dict[str, float]:
    """The detection metrics of several tables as one, such as those of a large set that was cut into folders.

    The scores are sorted on the disk (TMPDIR), 24 bytes each; AUROC and FPR95 are exact.

    Args:
        id_tables: of ID images, all scored by one setting.
        ood_tables: of OOD images, likewise.

    Raises:
        UserError: a table is damaged, a score is NaN, or there is no ID or no OOD image.
    """
    with TemporaryDirectory(prefix="neglab-") as folder:
        merged = SortedScores(Path(folder))
        for tables, is_id in ((id_tables, True), (ood_tables, False)):
            for scores in (batch for path in tables for batch in read_batches(path)):
                merged.add(scores, torch.full((len(scores),), is_id))
        return merged.metrics()


def _chunks(table: ScoreTable) -> Iterator[tuple[Sequence[str], Tensor, Tensor, Tensor]]:
    columns = (column.split(CHUNK) for column in (table.scores, table.labels, table.predicted))
    paths = iter(table.paths or repeat(""))
    for scores, labels, predicted in zip(*columns, strict=True):
        yield list(islice(paths, len(scores))), scores, labels, predicted


def _rows(table: ScoreTable, id_names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Guarded, column by column: cell by cell it takes a third longer."""
    names = [*guarded_column(id_names), ""]  # the last one is that of label -1
    for paths, scores, *classes in _chunks(table):
        labels, predicted = ([names[i] for i in column.tolist()] for column in classes)
        yield from zip(guarded_column(paths), scores.tolist(), labels, predicted, strict=True)
