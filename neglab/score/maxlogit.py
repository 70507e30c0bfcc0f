"""MaxLogit: the largest similarity to an ID class."""

from jaxtyping import Float
from torch import Tensor

from neglab.score.base import BankScore
from neglab.types import TextBank


class MaxLogitScore(BankScore[Tensor]):
    """The largest ID logit, logit scale x cosine. Higher is more ID.

    Shapes: images [B, D] and a bank of C ID labels give [B].

    Source: Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.
    """

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings * bank.logit_scale

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        return (images @ prepared.T).amax(dim=1)
