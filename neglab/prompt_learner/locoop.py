"""LoCoOp: CoOp that unlearns the background: patches that do not show their image's class are to be of no class."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from neglab.context.prompts import TokenEncoder
from neglab.prompt_learner.base import cross_entropies, ensemble
from neglab.prompt_learner.coop import CoOpLearner
from neglab.ranges import NotNegative, OpenShare

# Of the official codes: what keeps a logarithm finite, and SCT's weights above 0.
LOGARITHM_FLOOR, WEIGHT_FLOOR = 1e-5, 1e-7


@dataclass(eq=False, repr=False)
class LoCoOpLearner(CoOpLearner):
    """CoOp's loss, less lambda times the mean entropy of the patches that are background.

    A patch is background where its image's class is not among its K likeliest.

    Args:
        context, recipe, double_softmax: see `PromptLearner`.
        temperature: tau, divides the cosine similarities of images and of patches.
        foreground_share: K / C; K is at least 1 and less than C.
        entropy_weight: lambda.
        calibrated: SCT's: with p the share of an image's class, its cross entropy is weighed by 1 - p, and the entropy
            of its background by p. Both weights are part of the gradient.

    Source: LoCoOp (Miyai et al., NeurIPS 2023), Eq. 3 to 6; official code at a311b39, trainers/locoop.py. SCT (Yu et
        al., NeurIPS 2024); official code at 371b782, trainers/sct.py.
    Differs: K is a share of the classes, where the code takes 200 whatever C is (there nothing would be background with
        200 classes or fewer). Images are embedded once, with one random crop or none, where the code crops anew in each
        epoch. On several devices each takes the mean over its own share's background.
    """

    name: ClassVar[str] = "locoop"
    needs_patches: ClassVar[bool] = True

    foreground_share: OpenShare
    entropy_weight: NotNegative
    calibrated: bool

    def losses(
        self,
        encode: TokenEncoder,
        images: Float[Tensor, "B D"],
        labels: Int[Tensor, " B"],
        patches: Float[Tensor, "B P D"] | None = None,
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, ""]]:
        if patches is None:
            raise RuntimeError("LoCoOp learns from patches; got none")
        texts = ensemble(self.context(encode))
        logits = images @ texts.T / self.temperature
        own = cross_entropies(logits, labels, self.double_softmax)
        share = (-cross_entropy(logits, labels, reduction="none")).exp()
        weight = WEIGHT_FLOOR + share if self.calibrated else share.new_ones(len(labels))
        num_foreground = min(len(texts) - 1, max(1, round(self.foreground_share * len(texts))))
        local = patches.float() @ texts.T / self.temperature
        entropies, background = background_entropies(local, labels, num_foreground)
        # Where there is no background both sums are 0.
        mean = (weight[:, None] * entropies * background).sum() / background.sum().clamp(min=1)
        return own * (1 + WEIGHT_FLOOR - share) if self.calibrated else own, -self.entropy_weight * mean


def background_entropies(
    logits: Float[Tensor, "B P C"], labels: Int[Tensor, " B"], num_foreground: int
) -> tuple[Float[Tensor, "B P"], Float[Tensor, "B P"]]:
    """The entropy of each patch, and 1 where it is background, 0 elsewhere.

    Args:
        logits: of patches and classes.
        labels: of the images.
        num_foreground: K; a patch whose class is among its K likeliest is no background.
    """
    shares = logits.softmax(dim=2)
    entropies = -(shares * (shares + LOGARITHM_FLOOR).log()).sum(dim=2)
    own = logits.gather(2, labels[:, None, None].expand(-1, logits.shape[1], 1))
    likelier = (logits > own).sum(dim=2)
    return entropies, (likelier >= num_foreground).to(entropies.dtype)
