"""Entropy: how undecided the softmax over the ID classes is."""

from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Positive
from neglab.score.base import BankScore
from neglab.types import TextBank


class EntropyScore(BankScore[Tensor]):
    """The negative Shannon entropy of softmax(similarity / temperature), in nats. Higher is more ID.

    Args:
        temperature: T, divides the cosine similarities; 0.01 is CLIP's own.

    Shapes: images [B, D] and a bank of C ID labels give [B], in [-log C, 0]; float64, since at temperature 1 the
        softmax is nearly flat and float32 ties.

    Source: Ming et al., NeurIPS 2022, official code ea7130f8, utils/detection_util.py (score "entropy", T = 1).
    """

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        # A saturated softmax has finite log shares, so 0 * log 0 never comes up.
        log_shares = ((images @ prepared.T).double() / self.temperature).log_softmax(dim=1)
        return (log_shares.exp() * log_shares).sum(dim=1)
