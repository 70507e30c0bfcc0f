"""What every prompt learner shares: the trained context, how it is optimised, and the contract."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from neglab.backbone.base import Backbone
from neglab.context.prompts import ContextPrompts, TokenEncoder, check_length, context_prompts
from neglab.ranges import Count, CountOrZero, NotNegative, Positive, ShareBelowOne
from neglab.types import UserError

OPTIMISERS = ("sgd", "adam")


@dataclass(frozen=True)
class Recipe:
    """How a learner's parameters are optimised: cosine decay over the epochs, after an optional warm-up.

    Attributes:
        optimiser: "sgd" or "adam".
        learning_rate: of the first epoch after the warm-up.
        momentum: of SGD; 0 for Adam.
        weight_decay: of either.
        num_epochs: passes over the images; 0 leaves the context as it begins.
        batch_size: images per step, over all devices.
        warmup_epochs: at a constant, low rate.
        warmup_learning_rate: that rate.

    Raises:
        UserError: an unknown optimiser.

    Source: CoOp's official code at ff61507c with Dassl's ConstantWarmupScheduler around CosineAnnealingLR: epoch e of T
        after w of warm-up runs at rate (1 + cos(pi (e - w) / T)) / 2, so the decay is cut short by the warm-up.
    """

    optimiser: str
    learning_rate: Positive
    momentum: ShareBelowOne
    weight_decay: NotNegative
    num_epochs: CountOrZero
    batch_size: Count
    warmup_epochs: CountOrZero
    warmup_learning_rate: Positive

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise UserError(f"recipe.optimiser must be one of {', '.join(OPTIMISERS)}; got {self.optimiser!r}.")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if epoch < self.warmup_epochs:
            return self.warmup_learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - self.warmup_epochs) / self.num_epochs)) / 2

    def make(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over these parameters."""
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )


class TrainedContext(nn.Module):
    """The vectors that stand in a prompt before the class name: S sets of n, shared by all classes or one per class.

    Args:
        num_tokens: n, vectors of a context.
        num_sets: S (K for negatives), contexts that each class has.
        class_specific: each class has its own.
        class_name: the class name follows the context; without it only the context tells classes apart.
        initial_words: whose token embeddings the context begins with; None: normal draws.
        initial_std: standard deviation of these draws.

    Raises:
        UserError: settings under which all prompts of a class, or all classes, would be one.
    """

    vectors: nn.Parameter

    def __init__(
        self,
        num_tokens: Count,
        num_sets: Count,
        class_specific: bool,
        class_name: bool,
        initial_words: str | None,
        initial_std: NotNegative,
    ) -> None:
        super().__init__()
        if not class_specific and not class_name:
            raise UserError(
                "A context that all classes share must have the class name behind it, or all classes have one prompt; "
                "got context.class_specific=false and context.class_name=false. Set one of them to true."
            )
        if initial_words is not None and num_sets > 1:
            raise UserError(
                f"Several contexts must not begin alike; got context.num_sets={num_sets} that all begin with "
                f"{initial_words!r}. Set context.initial_words=null for random first values."
            )
        self.num_tokens, self.num_sets, self.class_name = num_tokens, num_sets, class_name
        self.class_specific = class_specific
        self.initial_words, self.initial_std = initial_words, initial_std
        self.prompts: ContextPrompts | None = None

    def build(self, backbone: Backbone, class_names: Sequence[str], generator: torch.Generator) -> None:
        """Look up the classes' tokens and give the context its first values.

        Raises:
            UserError: the prompts do not fit the tower, or the words are not as many tokens as the context.
        """
        check_length(backbone, class_names, self.num_tokens, self.class_name)
        device = next(backbone.parameters()).device
        self.prompts = context_prompts(backbone, class_names, self.num_tokens, self.class_name, device)
        width = self.prompts.prefix.shape[2]
        shape = (self.num_sets, len(class_names) if self.class_specific else 1, self.num_tokens, width)
        if self.initial_words is None:
            first = torch.randn(shape, generator=generator) * self.initial_std
        else:
            ids, ends = backbone.tokenize([self.initial_words, ""])
            end, begin = ends.tolist()
            if end - begin != self.num_tokens:
                raise UserError(
                    f"context.initial_words must have context.num_tokens={self.num_tokens} tokens; "
                    f"{self.initial_words!r} has {end - begin}. Change one of them."
                )
            first = backbone.embed_tokens(ids)[0, begin:end].detach().float().expand(shape)
        self.vectors = nn.Parameter(first.clone())

    @property
    def built(self) -> ContextPrompts:
        if self.prompts is None:
            raise RuntimeError("build comes first")
        return self.prompts

    def forward(self, encode: TokenEncoder) -> Float[Tensor, "S C D"]:
        """The embeddings of every class in every set, unit norm."""
        return encode(*self.built(self.vectors))


@dataclass(eq=False, repr=False)
class PromptLearner(nn.Module, ABC):
    """Prompts of the ID classes that are trained on few ID images while both towers stay as they are.

    Constructed with its settings alone, to which a subclass adds its own as fields; `build` looks up the classes and
    gives the parameters their first values.

    Args:
        context: the trained vectors.
        recipe: how they are optimised.
        temperature: tau, divides the cosine similarities in the loss.
        double_softmax: the cross entropy takes softmax shares for logits, as LSN's official code.

    Attributes:
        name: of the learner, in checkpoints and curves.
        needs_patches: it looks at the patches of its images.
    """

    name: ClassVar[str]
    needs_patches: ClassVar[bool] = False

    context: TrainedContext
    recipe: Recipe
    temperature: Positive
    double_softmax: bool

    def __new__(cls, *settings: Any, **named: Any) -> Any:
        learner = super().__new__(cls)
        nn.Module.__init__(learner)  # before the dataclass hands it the first module
        return learner

    def stages(self) -> "Iterator[PromptLearner]":
        """The learners that train one after the other; this one is the last."""
        yield self

    @property
    def num_negative_sets(self) -> int:
        """K, negative prompts per class."""
        return 0

    def build(self, backbone: Backbone, class_names: Sequence[str], generator: torch.Generator) -> None:
        """Before anything else: tokens of the classes and first values of the parameters."""
        self.context.build(backbone, class_names, generator)

    def own_parameters(self) -> list[nn.Parameter]:
        """What this stage trains."""
        return list(self.parameters())

    def losses(
        self,
        encode: TokenEncoder,
        images: Float[Tensor, "B D"],
        labels: Int[Tensor, " B"],
        patches: Float[Tensor, "B P D"] | None = None,
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, ""]]:
        """Each image's loss, to be averaged, and a penalty that no image owns, to be added.

        Here the cross entropy of the similarities, and no penalty; a learner with another loss says its own.

        Args:
            encode: the text tower.
            images: unit-norm embeddings.
            labels: their classes.
            patches: their patches, unit norm, in half precision; where a stage of the learner needs them.
        """
        logits = self.similarities(encode, images) / self.temperature
        return cross_entropies(logits, labels, self.double_softmax), logits.new_zeros(())

    @abstractmethod
    def similarities(self, encode: TokenEncoder, images: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Cosines of images and positive prompts: what ID accuracy is counted on."""

    @abstractmethod
    def results(self, encode: TokenEncoder, images: Float[Tensor, "N D"]) -> dict[str, Tensor]:
        """The checkpoint's tensors; `images` are those that it was trained on."""


def cross_entropies(
    logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"], double_softmax: bool
) -> Float[Tensor, " B"]:
    """Each row's cross entropy; with `double_softmax` of the logits' softmax shares taken for logits.

    Source: LSN (Nie et al., ICLR 2024), Eq. 3 and 4; official code at ebd97e22, main_feature_100_upload.py:285-308,
        where the loss of shares lies between log(1 + (C - 1) / e) and log(C - 1 + e) whatever the logits.
    """
    return cross_entropy(logits.softmax(dim=1) if double_softmax else logits, labels, reduction="none")


def ensemble(embeddings: Float[Tensor, "S C D"]) -> Float[Tensor, "C D"]:
    """One unit-norm embedding per class: the mean over its sets."""
    return embeddings[0] if len(embeddings) == 1 else normalize(embeddings.mean(dim=0), dim=1)
