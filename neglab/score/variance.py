"""Variance: how unequal the softmax shares of the ID classes are."""

from jaxtyping import Float
from torch import Tensor

from neglab.score.base import IDLogitScore


class VarianceScore(IDLogitScore):
    """The population variance over classes of softmax(similarity / temperature). Higher is more ID.

    Args: those of `IDLogitScore`.

    Shapes: [B], in [0, (C - 1) / C^2], 0 for a single class.

    Source: Ming et al., NeurIPS 2022, official code ea7130f8, utils/detection_util.py (score "var", T = 1).
    """

    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        # Shares sum to 1, so their mean is 1 / C.
        return (logits.softmax(dim=1) - 1 / logits.shape[1]).square().mean(dim=1)
