"""LSN: for each class, several prompts of what it is not, beside the positive prompts of another learner."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neglab.backbone.base import Backbone
from neglab.context.prompts import TokenEncoder
from neglab.prompt_learner.base import PromptLearner, cross_entropies
from neglab.ranges import NotNegative
from neglab.types import UserError

ORTHOGONALITY = ("absolute_sum", "signed_mean")


@dataclass(eq=False, repr=False)
class LSNLearner(PromptLearner):
    """K sets of negative prompts "[v_1] ... [v_n] name.", each to match every image but those of its class.

    The positive prompts train first, by a learner of their own: neither loss depends on the other's prompts.

    Args:
        context: of the negatives; its sets are the K prompts of a class.
        recipe: how the negatives are optimised.
        temperature: tau, divides 1 - cosine in the loss.
        double_softmax: see `PromptLearner`; true in the official code.
        positive: learns the positive prompts; with `positive.recipe.num_epochs` 0 they stay as they begin.
        orthogonality: what keeps a class's K prompts apart. "absolute_sum": Eq. 7, the sum of |cos| over classes and
            pairs; "signed_mean": the official code's, cosines with their sign, averaged over classes and over the other
            prompts of the class.
        orthogonality_weight: lambda.

    Raises:
        UserError: an unknown orthogonality.

    Source: LSN (Nie et al., ICLR 2024), Eq. 5 to 8; official code at ebd97e22, main_feature_100_upload.py.
    Differs: the K sets take each step together, where the code trains one set after the other in each epoch against
        the others as the epoch began; each set's gradient is that of its own cross entropy and of lambda times the
        penalty. The code trains under autocast without a gradient scaler; here `learn.precision` says how.
    """

    name: ClassVar[str] = "lsn"

    positive: PromptLearner
    orthogonality: str
    orthogonality_weight: NotNegative

    def __post_init__(self) -> None:
        if self.orthogonality not in ORTHOGONALITY:
            raise UserError(
                f"prompt_learner.orthogonality must be one of {', '.join(ORTHOGONALITY)}; got {self.orthogonality!r}."
            )

    def stages(self) -> Iterator[PromptLearner]:
        yield from self.positive.stages()
        yield self

    @property
    def num_negative_sets(self) -> int:
        return self.context.num_sets

    def build(self, backbone: Backbone, class_names: Sequence[str], generator: torch.Generator) -> None:
        # The positives' draws come first: they are those of the positive learner alone.
        self.positive.build(backbone, class_names, generator)
        super().build(backbone, class_names, generator)

    def own_parameters(self) -> list[nn.Parameter]:
        return list(self.context.parameters())

    def losses(
        self,
        encode: TokenEncoder,
        images: Float[Tensor, "B D"],
        labels: Int[Tensor, " B"],
        patches: Float[Tensor, "B P D"] | None = None,
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, ""]]:
        negatives = self.context(encode)
        penalty = self.orthogonality_weight * orthogonality(negatives, self.orthogonality)
        return negative_losses(images, negatives, labels, self.temperature, self.double_softmax), penalty

    def similarities(self, encode: TokenEncoder, images: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        return self.positive.similarities(encode, images)

    @torch.no_grad()
    def results(self, encode: TokenEncoder, images: Float[Tensor, "N D"]) -> dict[str, Tensor]:
        negatives = {
            "negative_context": self.context.vectors,
            "negative_embeddings": self.context(encode).flatten(0, 1),
        }
        return self.positive.results(encode, images) | negatives


def negative_losses(
    images: Float[Tensor, "B D"],
    negatives: Float[Tensor, "K C D"],
    labels: Int[Tensor, " B"],
    temperature: float,
    double_softmax: bool,
) -> Float[Tensor, " B"]:
    """Each image's cross entropy over (1 - cosine) / temperature, summed over the K sets.

    The image's own class is the target: its negative prompts are to match it least.

    Source: LSN (Nie et al., ICLR 2024), Eq. 5 and 6; official code at ebd97e22, main_feature_100_upload.py:305-308.
    """
    logits = (1 - torch.einsum("bd,kcd->bkc", images, negatives)) / temperature
    num_sets = len(negatives)
    each = cross_entropies(logits.flatten(0, 1), labels.repeat_interleave(num_sets), double_softmax)
    return each.unflatten(0, (len(images), num_sets)).sum(dim=1)


def orthogonality(negatives: Float[Tensor, "K C D"], form: str) -> Float[Tensor, ""]:
    """How alike each class's K prompts are; 0 for one prompt.

    Source: "absolute_sum": LSN (Nie et al., ICLR 2024), Eq. 7. "signed_mean": official code at ebd97e22,
        main_feature_100_upload.py; summed over pairs and divided by K - 1, each set's gradient is that of its mean
        cosine with the K - 1 others, which the code holds still.
    """
    num_sets = len(negatives)
    first, second = torch.triu_indices(num_sets, num_sets, offset=1, device=negatives.device)
    cosines = (negatives[first] * negatives[second]).sum(dim=2)  # [pairs, C]
    if form == "absolute_sum":
        return cosines.abs().sum()
    return cosines.mean(dim=1).sum() / max(1, num_sets - 1)
