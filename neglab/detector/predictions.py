"""What a detector says about an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.metrics.explanation import class_share, label_shares
from neglab.score.base import Judgement
from neglab.types import TextBank

NONE = (None, None, None)  # of the negatives, where the method has none


class Prediction(NamedTuple):
    """Score, decision and the labels that decide.

    The shares are those of one softmax over all ID classes and negatives, at the temperature of the score. A score that
    deals the negatives out to groups, as NegLabel's, is higher than the share of all classes.

    Attributes:
        score: the ID score; higher is more ID. None: the image cannot be read, and `error` says why.
        is_ood: the score is below the threshold; None where there is no threshold, or no score.
        predicted_class: the ID class by the method's own rule, or else that of the most similar text.
        class_share: its share.
        all_classes_share: that of all ID classes together.
        negative_label: the most similar negative; None where the method has none.
        negative_share: its share.
        all_negatives_share: that of all negatives together.
        path: where the image lies; None where it is no file.
        error: why it cannot be read; None: it can.
    """

    score: float | None
    is_ood: bool | None
    predicted_class: str | None
    class_share: float | None
    all_classes_share: float | None
    negative_label: str | None
    negative_share: float | None
    all_negatives_share: float | None
    path: str | None = None
    error: str | None = None

    @classmethod
    def unreadable(cls, path: str | None, error: str) -> "Prediction":
        """Of an image that cannot be read."""
        return cls(None, None, None, None, None, None, None, None, path, error)


@torch.no_grad()
def predictions(
    judgement: Judgement,
    images: Float[Tensor, "N D"],
    bank: TextBank,
    threshold: float | None,
    temperature: float | None,
    paths: Sequence[str | None],
) -> list[Prediction]:
    """One prediction per image.

    Args:
        judgement: ID scores and predicted classes.
        images: unit-norm embeddings.
        bank: whose labels decide.
        threshold: an image is OOD below it; None: no decision.
        temperature: of the softmax over all labels; None: the backbone's own.
        paths: of the images.
    """
    temperature = temperature or 1 / bank.logit_scale
    shares = label_shares(images, bank, temperature, 1)
    classes, class_shares = shares.classes[:, 0], shares.class_shares[:, 0]
    if judgement.predicted is not None:
        classes = judgement.predicted
        class_shares = class_share(images, classes, bank, temperature)
    columns = [judgement.scores, classes, class_shares, shares.id_share]
    if has_negatives := len(bank.negatives) > 0:
        columns += [shares.negatives[:, 0], shares.negative_shares[:, 0], shares.rest_share]
    found = []
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for (score, label, share, all_classes, *negative), path in zip(rows, paths, strict=True):
        is_ood = None if threshold is None else score < threshold
        name, negative_share, rest = (bank.negatives.names[negative[0]], *negative[1:]) if has_negatives else NONE
        own = bank.id_labels.names[label]
        found.append(Prediction(score, is_ood, own, share, all_classes, name, negative_share, rest, path))
    return found
