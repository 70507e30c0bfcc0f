"""Variance: how unequal the softmax shares of the ID classes are."""

from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Positive
from neglab.score.base import BankScore
from neglab.types import TextBank


class VarianceScore(BankScore[Tensor]):
    """The population variance over classes of softmax(similarity / temperature). Higher is more ID.

    Args:
        temperature: T, divides the cosine similarities; 0.01 is CLIP's own.

    Shapes: images [B, D] and a bank of C ID labels give [B], in [0, (C - 1) / C^2], 0 for a single class; float64,
        since at temperature 1 the shares are nearly equal.

    Source: Ming et al., NeurIPS 2022, official code ea7130f8, utils/detection_util.py (score "var", T = 1).
    """

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        shares = ((images @ prepared.T).double() / self.temperature).softmax(dim=1)
        return (shares - 1 / len(prepared)).square().mean(dim=1)  # shares sum to 1, so their mean is 1 / C
