"""How sure a report's numbers are: bootstrap intervals over the images, and whether the best method beats the next."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.metrics.intervals import percentile_interval, resampled_metrics, two_sided_p
from neglab.report.runs import Run
from neglab.results.results import HEADINGS, METRICS
from neglab.results.tables import ReportTable

RESAMPLED = METRICS[:3]  # AUROC and both FPR95
NO_SCORES = "–: the run's scores/ are gone or damaged, or its seeds scored different images."

Row = dict[str, Any]


class Resampled(NamedTuple):
    """A setting's metrics on resampled images, the mean over its seeds.

    Attributes:
        images: by OOD set, the paths of the ID images and of its own.
        values: by OOD set and for their `mean`, each metric of [R] resamples.
    """

    images: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    values: dict[str, dict[str, Float[Tensor, " R"]]]


def resample(runs: Sequence[Run], num_resamples: int, seed: int) -> Resampled | None:
    """Measure the runs of one setting, which differ in their seed, on the same draws of images.

    Returns:
        None: some scores are gone, or the seeds scored different images.

    Raises:
        UserError: a file of scores is damaged.
    """
    images: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] | None = None
    values: dict[str, list[dict[str, Tensor]]] = {}
    for run in runs:
        scores = run.scores()
        if scores is None:
            return None
        own = {name: (id_paths, ood_paths) for name, ((id_paths, _), (ood_paths, _)) in scores.items()}
        images = own if images is None else images
        if own != images:
            return None
        for name, ((_, id_scores), (_, ood_scores)) in scores.items():
            # The name stands for the images: all methods and OOD sets meet the same draws.
            id_seed, ood_seed = seed, seed + 1 + zlib.crc32(name.encode())
            found = resampled_metrics(id_scores, ood_scores, num_resamples, id_seed, ood_seed)
            values.setdefault(name, []).append(found)
    averaged = {name: _mean(found) for name, found in values.items()}
    return Resampled(images or {}, averaged | {"mean": _mean(list(averaged.values()))})


def _mean(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]).mean(0) for name in RESAMPLED}


def interval_columns(resampled: Resampled | None, ood_dataset: str, level: float) -> Row:
    """The columns of report.csv for one OOD set; none where there is nothing to draw from."""
    if resampled is None or ood_dataset not in resampled.values:
        return {}
    columns: Row = {}
    for name, values in resampled.values[ood_dataset].items():
        columns[f"{name}_low"], columns[f"{name}_high"] = percentile_interval(values, level)
    return columns


def interval_table(means: Mapping[str, Row], resampled: Mapping[str, Resampled | None], level: float) -> ReportTable:
    """One line per method: the means over the OOD sets with their intervals.

    Args:
        means: by method, its aggregated row of the mean over the OOD sets.
        resampled: of each method.
        level: of the intervals.
    """
    rows = []
    for label, mean in means.items():
        columns = interval_columns(resampled[label], "mean", level)
        shown = [f"{100 * mean[f'{name}_mean']:.2f} {_bracket(columns, name)}" for name in RESAMPLED]
        rows.append((label, *shown))
    title = f"Mean over the OOD sets with {100 * level:g}% bootstrap intervals over the images, in percent"
    notes = (NO_SCORES,) if None in resampled.values() else ()
    return ReportTable(title, ("method", *HEADINGS[:3]), tuple(rows), notes)


def _bracket(columns: Row, name: str) -> str:
    return f"[{100 * columns[f'{name}_low']:.2f}, {100 * columns[f'{name}_high']:.2f}]" if columns else "–"


def significance_table(
    means: Mapping[str, Row], resampled: Mapping[str, Resampled | None], level: float
) -> ReportTable | None:
    """The two methods best by mean AUROC against each other on the same images; None: there are no two."""
    ranked = sorted(means, key=lambda label: means[label]["auroc_mean"], reverse=True)
    if len(ranked) < 2:
        return None
    title = "The two best by mean AUROC, paired over the images, in percent"
    best, second = ranked[:2]
    first_of, second_of = resampled[best], resampled[second]
    difference = 100 * (means[best]["auroc_mean"] - means[second]["auroc_mean"])
    interval, p = "–", "–"
    notes = ("–: not both have their scores of the same images.",)
    if first_of is not None and second_of is not None and first_of.images == second_of.images:
        differences = first_of.values["mean"]["auroc"] - second_of.values["mean"]["auroc"]
        low, high = percentile_interval(differences, level)
        interval, p = f"[{100 * low:+.2f}, {100 * high:+.2f}]", f"{two_sided_p(differences):.4f}"
        notes = (
            "p: two-sided, paired bootstrap, at least 2 / (resamples + 1). It does not know that the two were picked.",
        )
    headings = ("best", "second", "Δ AUROC", f"{100 * level:g}% interval", "p")
    return ReportTable(title, headings, ((best, second, f"{difference:+.2f}", interval, p),), notes, compares=False)
