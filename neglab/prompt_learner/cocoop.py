"""CoCoOp: a context that a small network shifts for each image."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.context.prompts import MetaNet, TokenEncoder, conditional_texts
from neglab.prompt_learner.base import PromptLearner
from neglab.types import UserError

PROMPTS_AT_ONCE = 4096


@dataclass(eq=False, repr=False)
class CoCoOpLearner(PromptLearner):
    """Positive prompts "[v_1 + m(x)] ... [v_n + m(x)] name.": every image x has its own text embeddings.

    Args: those of `PromptLearner`, with one context that the classes share.

    Raises:
        UserError: a context of several sets or of each class.

    Source: CoCoOp (Zhou et al., CVPR 2022), official code at ff61507c, trainers/cocoop.py; LSN (Nie et al., ICLR 2024),
        Sec. 3.2.
    Differs: images are embedded once, without random crops. `class_embeddings`, for what needs texts without an image,
        are those of the mean training image.
    """

    name: ClassVar[str] = "cocoop"
    meta_net: MetaNet = field(init=False)

    def __post_init__(self) -> None:
        if self.context.class_specific or self.context.num_sets > 1:
            raise UserError(
                "CoCoOp has one context for all classes; got "
                f"context.class_specific={self.context.class_specific} and context.num_sets={self.context.num_sets}."
            )

    def build(self, backbone: Backbone, class_names: Sequence[str], generator: torch.Generator) -> None:
        super().build(backbone, class_names, generator)
        self.meta_net = MetaNet(backbone.embedding_dim, self.context.vectors.shape[3], generator)

    def similarities(self, encode: TokenEncoder, images: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        prompts, found = self.context.built, []
        # Without a gradient nothing else bounds the prompts, one per image and class, that are held at once.
        rows = len(images) if torch.is_grad_enabled() else max(1, PROMPTS_AT_ONCE // len(prompts))
        for part in images.split(max(1, rows)):
            texts = conditional_texts(encode, prompts, self.context.vectors, self.meta_net, part)
            found.append((texts * part[:, None]).sum(dim=2))
        return torch.cat(found)

    @torch.no_grad()
    def results(self, encode: TokenEncoder, images: Float[Tensor, "N D"]) -> dict[str, Tensor]:
        mean = normalize(images.mean(dim=0, keepdim=True), dim=1)
        texts = conditional_texts(encode, self.context.built, self.context.vectors, self.meta_net, mean)
        meta_net = {f"meta_net.{name}": tensor for name, tensor in self.meta_net.state_dict().items()}
        return {"context": self.context.vectors, "class_embeddings": texts[0], **meta_net}
