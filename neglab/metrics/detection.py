"""The detection metrics as torchmetrics metrics: they gather over batches and ranks, then compute exactly."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from neglab.metrics.curves import (
    RECALL,
    ScoreCounts,
    aupr_in,
    aupr_out,
    auroc,
    fpr_id_positive,
    fpr_ood_positive,
    score_counts,
)


class ScoreMetric(Metric, ABC):
    """Scores of ID and OOD images, kept in float64 as they come. No score is ever squashed.

    torchmetrics' own AUROC and ROC apply a sigmoid, per update, as soon as one score leaves [0, 1]: that ties scores
    and makes the result depend on the batch size.
    """

    full_state_update = False
    scores: list[Tensor]
    is_id: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("is_id", default=[], dist_reduce_fx="cat")

    def update(self, scores: Float[Tensor, " B"], is_id: Bool[Tensor, " B"]) -> None:
        """Add a batch: ID scores, higher for ID, and which images are ID."""
        self.scores.append(scores.double())
        self.is_id.append(is_id)

    def counts(self) -> ScoreCounts:
        """Everything added so far, sorted and counted."""
        return score_counts(dim_zero_cat(self.scores), dim_zero_cat(self.is_id))


class DetectionMetric(ScoreMetric):
    """One metric of the scores."""

    def compute(self) -> Tensor:
        """The metric over everything added so far, a fraction in [0, 1]."""
        return self.value(self.counts())

    @staticmethod
    @abstractmethod
    def value(counts: ScoreCounts) -> Tensor:
        """The metric of the counts."""


class AUROC(DetectionMetric):
    """Area under the ROC curve, ties half. 1 is perfect, 0.5 is guessing."""

    higher_is_better = True

    @staticmethod
    def value(counts: ScoreCounts) -> Tensor:
        return auroc(counts)


class AUPRIn(DetectionMetric):
    """Average precision, ID positive. Higher is better.

    Differs: OpenOOD 1.5, and so AdaNeg's, InterNeg's and TANL's code, takes the trapezoid under the precision-recall
        curve, which is another number: 0.797 for an average precision of 0.774 in a case of twenty images.
    """

    higher_is_better = True

    @staticmethod
    def value(counts: ScoreCounts) -> Tensor:
        return aupr_in(counts)


class AUPROut(DetectionMetric):
    """Average precision, OOD positive. Higher is better.

    Differs: from OpenOOD as `AUPRIn` does.
    """

    higher_is_better = True

    @staticmethod
    def value(counts: ScoreCounts) -> Tensor:
        return aupr_out(counts)


class FPR95IDPositive(DetectionMetric):
    """Share of OOD accepted where ID recall is nearest to 0.95 (NegLabel's convention). Lower is better."""

    higher_is_better = False

    @staticmethod
    def value(counts: ScoreCounts) -> Tensor:
        return fpr_id_positive(counts, recall=RECALL)


class FPR95OODPositive(DetectionMetric):
    """Share of ID rejected at the first OOD recall of at least 0.95 (OpenOOD's convention). Lower is better."""

    higher_is_better = False

    @staticmethod
    def value(counts: ScoreCounts) -> Tensor:
        return fpr_ood_positive(counts, recall=RECALL)


class IDAccuracy(Metric):
    """Share of ID images whose most similar class is their own."""

    full_state_update = False
    higher_is_better = True
    correct: Tensor
    total: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("correct", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Int[Tensor, " B"], labels: Int[Tensor, " B"]) -> None:
        """Add a batch of predicted and true class indices."""
        self.correct += (predicted == labels).sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        """The accuracy so far, a fraction in [0, 1]."""
        return self.correct.double() / self.total


DETECTION_METRICS: Mapping[str, type[DetectionMetric]] = {
    "auroc": AUROC,
    "aupr_in": AUPRIn,
    "aupr_out": AUPROut,
    "fpr95_id_positive": FPR95IDPositive,
    "fpr95_ood_positive": FPR95OODPositive,
}


class DetectionMetrics(ScoreMetric):
    """Every detection metric under the key it has in metrics.json. One sort serves them all."""

    def compute(self) -> dict[str, Tensor]:
        """The metrics over everything added so far, fractions in [0, 1]."""
        counts = self.counts()
        return {name: metric.value(counts) for name, metric in DETECTION_METRICS.items()}
