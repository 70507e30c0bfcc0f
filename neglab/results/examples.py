"""examples.csv: of each image set those whose score is most wrong, with the labels that decided."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.config_check import ID
from neglab.csv_cells import TableReader
from neglab.files import open_table
from neglab.metrics.explanation import class_share, label_shares
from neglab.plots.contact_sheet import SIZE
from neglab.results.results import unreadable, write_csv
from neglab.types import LabelledEmbeddings, ScoreTable, TextBank

if TYPE_CHECKING:
    from neglab.pipeline import Evaluation, Parts

NUM_EXAMPLES = 8  # images of each set
CHUNK = 2**20  # scores that are sorted at once
NUM_NEGATIVES = 3  # negative labels of each image
NEGATIVES = [(f"negative_{k}", f"negative_{k}_share") for k in range(1, NUM_NEGATIVES + 1)]
TOGETHER = ("all_classes_share", "all_negatives_share")
COLUMNS = ("dataset", "path", "class", "id_score", "predicted_class", "class_share", *sum(NEGATIVES, ()), *TOGETHER)
SAMPLE_COLUMNS = ("dataset", "image", "path", "id_score", "predicted_class", "negative_label")


class Example(NamedTuple):
    """An image and what decided its score.

    Attributes:
        dataset: the set that it is of; "id" is the ID set.
        path: where it came from.
        own_class: its ID class; empty where it has none.
        score: the ID score.
        predicted_class: as in scores/.
        class_share: its share of the softmax over all labels, at the score's temperature.
        negatives: the negative labels with the largest shares, largest first, and these shares.
        together: the shares of all ID classes and of all negatives; None: an older run has not written them.
    """

    dataset: str
    path: str
    own_class: str
    score: float
    predicted_class: str
    class_share: float
    negatives: tuple[tuple[str, float], ...]
    together: tuple[float, float] | None = None


def most_wrong(parts: "Parts", evaluation: "Evaluation") -> list[Example]:
    """Of the ID set the images most like OOD, of an OOD set those most like ID."""
    bank = TextBank(evaluation.id_labels, evaluation.negatives, parts.backbone.logit_scale)
    images = evaluation.embedded.images
    # Where each OOD set's stream scores the ID images anew, those of the first stand for all.
    tables = {ID: evaluation.pairs[0].id_images}
    tables |= {pair.ood_images.dataset: pair.ood_images for pair in evaluation.pairs}
    chosen = [(name, i) for name, table in tables.items() for i in _first(table.scores, name != ID)]
    rows = torch.stack([images[name].embeddings[_place_of(tables[name], i, images[name])] for name, i in chosen])
    temperature = parts.score.share_temperature or 1 / bank.logit_scale
    found = label_shares(rows, bank, temperature, NUM_NEGATIVES)
    predicted_classes = torch.stack([tables[name].predicted[i] for name, i in chosen])
    class_shares = class_share(rows, predicted_classes, bank, temperature)
    class_names, negative_names = bank.id_labels.names, bank.negatives.names
    examples: list[Example] = []
    columns = (predicted_classes, class_shares, found.negatives, found.negative_shares)
    together = zip(found.id_share.tolist(), found.rest_share.tolist(), strict=True)
    for (name, i), totals, *numbers in zip(chosen, together, *(column.tolist() for column in columns), strict=True):
        table, (predicted, share, negatives, shares) = tables[name], numbers
        own_class = class_names[int(table.labels[i])] if table.labels[i] >= 0 else ""
        strongest = tuple(zip((negative_names[k] for k in negatives), shares, strict=True))
        score = float(table.scores[i])
        examples.append(
            Example(name, table.paths[int(i)], own_class, score, class_names[predicted], share, strongest, totals)
        )
    return examples


def _first(scores: Float[Tensor, " N"], descending: bool) -> list[int]:
    """The positions of the first scores in order; of equal ones those that come first. A part is sorted at a time."""
    places = torch.empty(0, dtype=torch.long)
    for start in range(0, len(scores), CHUNK):
        places = torch.cat([places, torch.arange(start, min(start + CHUNK, len(scores)))])
        places = places[scores[places].argsort(descending=descending, stable=True)[:NUM_EXAMPLES]]
    return places.tolist()


def _place_of(table: ScoreTable, row: int, images: LabelledEmbeddings) -> int:
    """Where the image of a row stands among those of its set: a stream may leave some out."""
    return row if table.paths is images.paths else images.paths.index(table.paths[row])


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """One line per image; `read_examples` reads them back.

    Raises:
        UserError: the disk is full.
    """
    rows: list[list[Any]] = []
    for *first, share_of_class, negatives, together in examples:
        labels = [cell for name, share in negatives for cell in (name, f"{share:.6g}")]
        row = [*first, f"{share_of_class:.6g}", *labels]
        row += [""] * (len(COLUMNS) - len(TOGETHER) - len(row))
        rows.append(row + [f"{share:.6g}" for share in together or ()])
    write_csv(path, COLUMNS, rows)


def read_examples(path: Path) -> list[Example]:
    """What a run wrote.

    Raises:
        UserError: the file is damaged.
    """
    examples: list[Example] = []
    try:
        with open_table(path) as file:
            for row in TableReader(file, strict=True):
                negatives = tuple((row[name], float(row[share])) for name, share in NEGATIVES if row[name])
                first = (row["dataset"], row["path"], row["class"], float(row["id_score"]))
                known = all(row.get(name) for name in TOGETHER)
                together = (float(row[TOGETHER[0]]), float(row[TOGETHER[1]])) if known else None
                share = float(row["class_share"])
                examples.append(Example(*first, row["predicted_class"], share, negatives, together))
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error
    return examples


def sample_rows(parts: "Parts", examples: Sequence[Example]) -> list[tuple[Any, ...]]:
    """The examples with small pictures, for a dashboard; their columns are SAMPLE_COLUMNS."""
    sources = {
        name: dataset.images().sources.named(example.path for example in examples if example.dataset == name)
        for name, dataset in parts.benchmark.items()
    }
    rows: list[tuple[Any, ...]] = []
    for example in examples:
        small = sources[example.dataset][example.path].rgb()
        small.thumbnail((SIZE, SIZE))
        nearest = example.negatives[0][0] if example.negatives else None
        rows.append((example.dataset, small, example.path, example.score, example.predicted_class, nearest))
    return rows
