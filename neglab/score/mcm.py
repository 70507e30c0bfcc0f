"""MCM: the largest softmax share among the ID classes."""

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Positive
from neglab.score.base import BankScore
from neglab.types import TextBank


class MCMScore(BankScore[Tensor]):
    """Maximum concept matching: max over classes of softmax(similarity / temperature). Higher is more ID.

    Args:
        temperature: divides the cosine similarities; 1 in the official code, 0.01 is CLIP's own.

    Shapes: images [B, D] and a bank of C ID labels give [B], in (1/C, 1]; float64, since float32 ties near 1.

    Source: Ming et al., "Delving into Out-of-Distribution Detection with Vision-Language Representations", NeurIPS
        2022, Eq. 1; official code ea7130f8, utils/detection_util.py.
    """

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        logits = (images @ prepared.T).double() / self.temperature
        return torch.exp(logits.amax(dim=1) - logits.logsumexp(dim=1))
