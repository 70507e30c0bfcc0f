"""Detection metrics as pure functions of scores and of which images are ID. Exact under ties, in float64 and counts."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.types import UserError

RECALL = 0.95  # of FPR95


@dataclass(frozen=True)
class ScoreCounts:
    """How many ID and OOD images have each distinct score, ascending. All metrics follow from these counts.

    Dense ranks come before any curve: neither a sigmoid nor a rounding can tie or reorder two scores.
    """

    id_counts: Int[Tensor, " V"]
    ood_counts: Int[Tensor, " V"]

    @property
    def num_id(self) -> Tensor:
        return self.id_counts.sum()

    @property
    def num_ood(self) -> Tensor:
        return self.ood_counts.sum()


def score_counts(scores: Float[Tensor, " N"], is_id: Bool[Tensor, " N"]) -> ScoreCounts:
    """Count ID and OOD images per distinct score.

    Raises:
        UserError: a score is NaN, or one of the two kinds has no image.
    """
    num_id = int(is_id.sum())
    check_scores(int(scores.isnan().sum()), num_id, len(scores) - num_id)
    values, rank = torch.unique(scores, return_inverse=True)
    return ScoreCounts(
        torch.bincount(rank[is_id], minlength=len(values)), torch.bincount(rank[~is_id], minlength=len(values))
    )


def check_scores(num_nan: int, num_id: int, num_ood: int) -> None:
    """Raise a UserError where a score is NaN, or one of the two kinds has no image."""
    if num_nan:
        raise UserError(
            f"Scores must not be NaN; {num_nan} of {num_id + num_ood} are. Check the embeddings and the score's "
            "temperature."
        )
    if not num_id or not num_ood:
        raise UserError(f"Metrics need ID and OOD images; got {num_id} ID and {num_ood} OOD images.")


def auroc(counts: ScoreCounts) -> Tensor:
    """Probability that an ID image scores above an OOD image, ties half. 1 is perfect, 0.5 is guessing."""
    twice_below = 2 * (counts.ood_counts.cumsum(0) - counts.ood_counts) + counts.ood_counts
    return (counts.id_counts * twice_below).sum().double() / (2 * counts.num_id * counts.num_ood)


def aupr_in(counts: ScoreCounts) -> Tensor:
    """Average precision with ID positive. Higher is better; guessing gives the share of ID images."""
    return _average_precision(counts.id_counts.flip(0), counts.ood_counts.flip(0))


def aupr_out(counts: ScoreCounts) -> Tensor:
    """Average precision with OOD positive. Higher is better; guessing gives the share of OOD images."""
    return _average_precision(counts.ood_counts, counts.id_counts)


def fpr_id_positive(counts: ScoreCounts, recall: float) -> Tensor:
    """Share of OOD images accepted where ID recall is nearest to `recall`. Lower is better.

    The convention of MCM, NegLabel, CSP, NegRefine and LSN. Among two recalls equally near, the higher one; the
    threshold is the lowest that gives that recall.

    Source: mmcls/utils/ood_evaluate.py of NegLabel at 3253db6 (fpr_and_fdr_at_recall).
    """
    has_id = counts.id_counts > 0
    at_least = counts.id_counts.flip(0).cumsum(0).flip(0)[has_id]  # ID images at or above each distinct ID score
    distance = (at_least.double() / counts.num_id - recall).abs()
    cut = int(distance.argmin())  # ascending scores: the first of two equal distances has the higher recall
    position = has_id.nonzero().flatten()
    # Any threshold above the next lower ID score gives the same ID recall; the lowest of them accepts the most OOD.
    first_accepted = int(position[cut - 1]) + 1 if cut > 0 else int(position[0])
    return counts.ood_counts[first_accepted:].sum().double() / counts.num_ood


def fpr_ood_positive(counts: ScoreCounts, recall: float) -> Tensor:
    """Share of ID images rejected at the first threshold that catches at least `recall` of the OOD. Lower is better.

    The convention of OpenOOD >= 1.5, OpenOOD-VLM, AdaNeg and InterNeg's released script.

    Source: openood/evaluators/metrics.py of OpenOOD-VLM at 804f331.
    """
    caught = counts.ood_counts.cumsum(0).double() / counts.num_ood
    cut = int((caught >= recall).int().argmax())
    return counts.id_counts[: cut + 1].sum().double() / counts.num_id


def _average_precision(positives: Int[Tensor, " V"], negatives: Int[Tensor, " V"]) -> Tensor:
    """Average precision of counts in the order in which thresholds let them in; not the trapezoid."""
    found = positives.cumsum(0).double()
    precision = found / (found + negatives.cumsum(0))
    return (positives * precision).sum() / positives.sum()
