"""Energy: the negative free energy of the ID similarities."""

from jaxtyping import Float
from torch import Tensor

from neglab.score.base import IDLogitScore


class EnergyScore(IDLogitScore):
    """temperature * logsumexp(similarity / temperature) over the ID classes. Higher is more ID.

    Args: those of `IDLogitScore`. T = 0.01 is T = 1 on CLIP's logits, up to a factor of 100 that changes no ranking; at
        T = 1 the score is nearly the mean similarity.

    Shapes: [B], in units of the cosine.

    Source: Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, Eq. 4. On cosines: T = 1 in MCM's
        official code (ea7130f8, utils/detection_util.py), 0.01 in EOE's (20fa95e).
    """

    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.temperature * logits.logsumexp(dim=1)
