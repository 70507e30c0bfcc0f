"""MCM: the largest softmax share among the ID classes."""

from jaxtyping import Float
from torch import Tensor

from neglab.score.base import IDLogitScore


class MCMScore(IDLogitScore):
    """Maximum concept matching: max over classes of softmax(similarity / temperature). Higher is more ID.

    Args: those of `IDLogitScore`; T = 1 in the official code.

    Shapes: [B], in (1/C, 1].

    Source: Ming et al., "Delving into Out-of-Distribution Detection with Vision-Language Representations", NeurIPS
        2022, Eq. 1; official code ea7130f8, utils/detection_util.py.
    """

    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return (logits.amax(dim=1) - logits.logsumexp(dim=1)).exp()
