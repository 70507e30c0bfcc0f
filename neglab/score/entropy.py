"""Entropy: how undecided the softmax over the ID classes is."""

from jaxtyping import Float
from torch import Tensor

from neglab.score.base import IDLogitScore


class EntropyScore(IDLogitScore):
    """The negative Shannon entropy of softmax(similarity / temperature), in nats. Higher is more ID.

    Args: those of `IDLogitScore`.

    Shapes: [B], in [-log C, 0].

    Source: Ming et al., NeurIPS 2022, official code ea7130f8, utils/detection_util.py (score "entropy", T = 1).
    """

    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        # A saturated softmax has finite log shares, so 0 * log 0 never comes up.
        log_shares = logits.log_softmax(dim=1)
        return (log_shares.exp() * log_shares).sum(dim=1)
