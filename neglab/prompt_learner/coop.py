"""CoOp: one context for all classes, trained by cross entropy."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.context.prompts import TokenEncoder
from neglab.prompt_learner.base import PromptLearner, ensemble


class CoOpLearner(PromptLearner):
    """Positive prompts "[v_1] ... [v_n] name." whose context is trained.

    Source: CoOp (Zhou et al., IJCV 2022), official code at ff61507c, trainers/coop.py; LSN (Nie et al., ICLR 2024), Eq.
        2 to 4.
    Differs: images are embedded once, without random crops, as in LSN's official code. Several sets (LSN's Table 4,
        "multi positive prompts") are averaged to one embedding per class, which the paper leaves open.
    """

    name: ClassVar[str] = "coop"

    def similarities(self, encode: TokenEncoder, images: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        return images @ ensemble(self.context(encode)).T

    @torch.no_grad()
    def results(self, encode: TokenEncoder, images: Float[Tensor, "N D"]) -> dict[str, Tensor]:
        return {"context": self.context.vectors, "class_embeddings": ensemble(self.context(encode))}
