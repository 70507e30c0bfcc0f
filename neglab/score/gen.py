"""GEN: a generalized entropy of the largest softmax shares."""

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Count, Positive
from neglab.score.base import BankScore
from neglab.types import TextBank


class GENScore(BankScore[Tensor]):
    """-sum of p^gamma (1 - p)^gamma over the largest shares p of softmax(similarity / temperature). Higher is more ID.

    Args:
        temperature: divides the cosine similarities; 0.01 is CLIP's own. At 1 the score is nearly constant.
        gamma: the exponent; smaller ones weigh small shares more.
        num_top_classes: M, how many of the largest shares count; all where there are fewer classes.

    Shapes: images [B, D] and a bank of C ID labels give [B], at most 0; float64.

    Source: Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection", CVPR 2023; defaults
        of OpenOOD, openood/postprocessors/gen_postprocessor.py.
    Differs: 1 - p of the largest share is summed over the other classes, so a saturated softmax keeps its order;
        the official code subtracts, and every share that rounds to 1 scores alike.
    """

    def __init__(self, temperature: Positive, gamma: Positive, num_top_classes: Count) -> None:
        self.temperature, self.gamma, self.num_top_classes = temperature, gamma, num_top_classes

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"]) -> Float[Tensor, " B"]:
        log_shares = ((images @ prepared.T).double() / self.temperature).log_softmax(dim=1)
        log_rest_of_top = log_shares.scatter(1, log_shares.argmax(dim=1, keepdim=True), -torch.inf).logsumexp(dim=1)
        top = log_shares.topk(min(self.num_top_classes, len(prepared)), dim=1).values
        # Only the largest share can exceed 1/2: the other complements lose nothing by the subtraction.
        log_rest = torch.cat([log_rest_of_top[:, None], torch.log1p(-top[:, 1:].exp())], dim=1)
        return -(self.gamma * (top + log_rest)).exp().sum(dim=1)
