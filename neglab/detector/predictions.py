"""What a detector says of an image."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.metrics.explanation import label_shares
from neglab.types import TextBank


class Prediction(NamedTuple):
    """Score, decision and the labels that decide.

    Attributes:
        score: the ID score; higher is more ID.
        is_ood: the score is below the threshold; None where there is no threshold.
        predicted_class: the most similar ID class.
        class_share: its share of the softmax over all ID classes and negatives.
        negative_label: the most similar negative; None where the method has none.
        negative_share: its share of the same softmax.
    """

    score: float
    is_ood: bool | None
    predicted_class: str
    class_share: float
    negative_label: str | None
    negative_share: float | None


@torch.no_grad()
def predictions(
    scores: Float[Tensor, " N"], images: Float[Tensor, "N D"], bank: TextBank, threshold: float | None
) -> list[Prediction]:
    """One prediction per image.

    Args:
        scores: the ID scores.
        images: unit-norm embeddings.
        bank: whose labels decide.
        threshold: an image is OOD below it; None: no decision.
    """
    shares = label_shares(images, bank, 1 / bank.logit_scale, 1)
    columns = [scores, shares.classes[:, 0], shares.class_shares[:, 0]]
    if has_negatives := len(bank.negatives) > 0:
        columns += [shares.negatives[:, 0], shares.negative_shares[:, 0]]
    found = []
    for score, label, share, *negative in zip(*(column.tolist() for column in columns), strict=True):
        is_ood = None if threshold is None else score < threshold
        name, negative_share = (bank.negatives.names[negative[0]], negative[1]) if has_negatives else (None, None)
        found.append(Prediction(score, is_ood, bank.id_labels.names[label], share, name, negative_share))
    return found
