"""Energy: the negative free energy of the ID similarities."""

from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Positive
from neglab.score.base import BankScore
from neglab.types import TextBank


class EnergyScore(BankScore[Tensor]):
    """temperature * logsumexp(similarity / temperature) over the ID classes. Higher is more ID.

    Args:
        temperature: T, divides the cosine similarities. 0.01 is T = 1 on CLIP's logits, up to a factor of 100 that
            changes no ranking; at 1 the score is nearly the mean similarity.

    Shapes: images [B, D] and a bank of C ID labels give [B], in units of the cosine; float64.

    Source: Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, Eq. 4. On cosines: T = 1 in MCM's
        official code (ea7130f8, utils/detection_util.py), 0.01 in EOE's (20fa95e).
    """

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        return self.temperature * ((images @ prepared.T).double() / self.temperature).logsumexp(dim=1)
