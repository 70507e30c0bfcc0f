"""GL-MCM: what a score says of the whole image, and the most that it says of any of its patches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import NotNegative
from neglab.score.base import BankScore, LocalScore
from neglab.types import Outline, TextBank, UserError

ROWS = 4096  # patches that are scored at once on a CPU, in whole blocks
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class GLMCMBank:
    """D, and what the inner score prepares of the bank."""

    embedding_dim: int
    prepared: Any


class GLMCMScore(LocalScore[GLMCMBank]):
    """S(image) + lambda max_p S(patch p), with MCM as S. Higher is more ID.

    An image of several things is ID where one of its patches is, whatever the rest shows.

    Args:
        score: S, a pure function of embedding and bank.
        local_weight: lambda; 0: the whole image alone.

    Raises:
        UserError: an inner score that looks at patches itself, or has settings that are no plain values; on use, images
            without the column.

    Shapes: images [B, D + 1], the last column from `local`, give [B], of the inner score's type.

    Source: GL-MCM (Miyai et al., IJCV 2025), Sec. 3; official code at 8708a08, utils/detection_util.py. Its lambda is 1
        by default, as in the published rows, and 0.5 in its script for ImageNet.
    Differs: the official code encodes in float16; the local numbers are kept as float32. With a score of negative
        labels for S it is ours: each patch has its share, and the largest joins that of the image.
    """

    def __init__(self, score: BankScore[Any], local_weight: NotNegative) -> None:
        if isinstance(score, LocalScore):
            raise UserError("score.score must be a score of whole images, such as mcm or neglabel; got one of patches.")
        if strange := [name for name, value in vars(score).items() if not isinstance(value, PLAIN)]:
            raise UserError(
                "score.score must be made of plain values, which say whose local numbers are in the store; its "
                f"{strange[0]} is none. Choose mcm, neglabel or their like."
            )
        self.inner, self.local_weight = score, local_weight

    @property
    def local_identity(self) -> Mapping[str, Any]:
        return {"score": type(self.inner).__name__, **vars(self.inner)}

    def check(self, outline: Outline) -> None:
        self.inner.check(outline)

    def prepare(self, bank: TextBank) -> GLMCMBank:
        return GLMCMBank(bank.id_labels.embeddings.shape[1], self.inner.prepare(bank))

    def local(self, patches: Float[Tensor, "B P D"], prepared: GLMCMBank) -> Float[Tensor, " B"]:
        rows = patches.flatten(0, 1).split(rows_at_once(patches, 1, ROWS))
        scores = torch.cat([self.inner.score(part, prepared.prepared) for part in rows])
        return scores.unflatten(0, patches.shape[:2]).amax(dim=1)

    def score(self, images: Float[Tensor, "B D1"], prepared: GLMCMBank) -> Float[Tensor, " B"]:
        if images.shape[1] != prepared.embedding_dim + 1:  # the last coordinate would be taken for the column
            raise UserError(
                "GL-MCM takes images with the number of their patches behind the embedding, as the passes of `neglab` "
                "and `Detector.embed` make them; these have none. It cannot stand within another score."
            )
        whole, local = images[:, :-1].contiguous(), images[:, -1]
        return self.inner.score(whole, prepared.prepared) + self.local_weight * local
