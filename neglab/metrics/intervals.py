"""How far a metric would move with other images: the bootstrap, over images and paired between methods."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.metrics.curves import RECALL
from neglab.types import generator

CHUNK_ELEMENTS = 2**18  # of the counts of one chunk of resamples: 2 MiB, which stay in a core's cache


def resampled_metrics(
    id_scores: Float[Tensor, " N"],
    ood_scores: Float[Tensor, " K"],
    num_resamples: int,
    id_seed: int,
    ood_seed: int,
) -> dict[str, Float[Tensor, " R"]]:
    """AUROC and both FPR95 on images drawn anew with replacement, as many of each kind as there are.

    Two methods whose scores are in the same order of images, with the same seeds, are measured on the same draws, and
    so are two OOD sets on the same ID images: differences and means of what comes back are paired.

    Args:
        id_scores: higher is more ID.
        ood_scores: likewise.
        num_resamples: R.
        id_seed: of the draws of ID images.
        ood_seed: of those of OOD images; two sets of images need two seeds.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 8; metrics as in curves.py.
    """
    values, rank = torch.unique(torch.cat([id_scores, ood_scores]), return_inverse=True)
    id_rank, ood_rank = rank[: len(id_scores)], rank[len(id_scores) :]
    id_draw, ood_draw = generator(id_seed), generator(ood_seed)
    parts = []
    for rows in torch.arange(num_resamples).split(max(1, CHUNK_ELEMENTS // len(rank))):
        id_counts = _drawn_counts(id_rank, len(rows), len(values), id_draw)
        ood_counts = _drawn_counts(ood_rank, len(rows), len(values), ood_draw)
        parts.append(
            (
                _auroc(id_counts, ood_counts),
                _fpr_id_positive(id_counts, ood_counts),
                _fpr_ood_positive(id_counts, ood_counts),
            )
        )
    names = ("auroc", "fpr95_id_positive", "fpr95_ood_positive")
    return {name: torch.cat(found) for name, found in zip(names, zip(*parts, strict=True), strict=True)}


def percentile_interval(values: Float[Tensor, " R"], level: float) -> tuple[float, float]:
    """The middle share `level` of the resamples.

    Source: Efron and Tibshirani (1993), chapter 13.
    """
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype)
    low, high = values.quantile(ends).tolist()
    return low, high


def two_sided_p(differences: Float[Tensor, " R"]) -> float:
    """Two-sided p-value of a paired difference: how often resamples change its sign; at least 2 / (R + 1).

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 4.2, for the added one.
    """
    count = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + count) / (1 + len(differences)))


def _drawn_counts(rank: Int[Tensor, " N"], num_rows: int, num_values: int, draw: torch.Generator) -> Int[Tensor, "R V"]:
    """How many images of each distinct score each resample holds."""
    drawn = rank[torch.randint(len(rank), (num_rows, len(rank)), generator=draw)]
    row_starts = torch.arange(num_rows)[:, None] * num_values
    return (drawn + row_starts).flatten().bincount(minlength=num_rows * num_values).view(num_rows, num_values)


def _auroc(id_counts: Int[Tensor, "R V"], ood_counts: Int[Tensor, "R V"]) -> Float[Tensor, " R"]:
    twice_below = 2 * ood_counts.cumsum(1) - ood_counts
    return (id_counts * twice_below).sum(1).double() / (2 * id_counts.sum(1) * ood_counts.sum(1))


def _fpr_id_positive(id_counts: Int[Tensor, "R V"], ood_counts: Int[Tensor, "R V"]) -> Float[Tensor, " R"]:
    num_id = id_counts.sum(1, keepdim=True)
    at_least = id_counts.flip(1).cumsum(1).flip(1)
    # Of equal distances the first: the higher recall, and the lowest threshold that gives it.
    cut = (at_least.double() / num_id - RECALL).abs().argmin(1, keepdim=True)
    # Where every ID image is accepted, the threshold is the lowest ID score: what lies below it is not let in.
    lowest_id = (at_least == num_id).sum(1, keepdim=True) - 1
    accepted = ood_counts.flip(1).cumsum(1).flip(1).gather(1, torch.maximum(cut, lowest_id))
    return accepted.squeeze(1).double() / ood_counts.sum(1)


def _fpr_ood_positive(id_counts: Int[Tensor, "R V"], ood_counts: Int[Tensor, "R V"]) -> Float[Tensor, " R"]:
    caught = ood_counts.cumsum(1).double() / ood_counts.sum(1, keepdim=True)
    cut = (caught >= RECALL).int().argmax(1, keepdim=True)
    return id_counts.cumsum(1).gather(1, cut).squeeze(1).double() / id_counts.sum(1)
