"""GEN: a generalized entropy of the largest softmax shares."""

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Count, Positive
from neglab.score.base import IDLogitScore


class GENScore(IDLogitScore):
    """-sum of p^gamma (1 - p)^gamma over the largest shares p of softmax(similarity / temperature). Higher is more ID.

    Args:
        temperature: that of `IDLogitScore`. At 1 the score is nearly constant.
        gamma: the exponent; smaller ones weigh small shares more.
        num_top_classes: M, how many of the largest shares count; all where there are fewer classes.

    Shapes: [B], at most 0.

    Source: Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection", CVPR 2023; defaults
        of OpenOOD, openood/postprocessors/gen_postprocessor.py.
    Differs: 1 - p of the largest share is summed over the other classes, so a saturated softmax keeps its order;
        the official code subtracts, and every share that rounds to 1 scores alike.
    """

    def __init__(self, temperature: Positive, gamma: Positive, num_top_classes: Count) -> None:
        super().__init__(temperature)
        self.gamma, self.num_top_classes = gamma, num_top_classes

    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        log_shares = logits.log_softmax(dim=1)
        log_rest_of_top = log_shares.scatter(1, log_shares.argmax(dim=1, keepdim=True), -torch.inf).logsumexp(dim=1)
        top = log_shares.topk(min(self.num_top_classes, logits.shape[1]), dim=1).values
        # Only the largest share can exceed 1/2: the other complements lose nothing by the subtraction.
        log_rest = torch.cat([log_rest_of_top[:, None], torch.log1p(-top[:, 1:].exp())], dim=1)
        return -(self.gamma * (top + log_rest)).exp().sum(dim=1)
