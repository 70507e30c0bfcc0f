"""OODD's dynamic dictionary: any score, less the similarity to the images that it has scored lowest so far."""

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Count, NotNegative
from neglab.score.base import Judgement, Score
from neglab.types import Outline, TextBank, TextEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dictionary:
    """The base score's state and the queue.

    Attributes:
        base: state of the base score.
        scores: [Q], base scores of the queued images, rising.
        images: [Q, D], their embeddings.
        num_seen: images so far.
    """

    base: Any
    scores: Float[Tensor, " Q"]
    images: Float[Tensor, "Q D"]
    num_seen: int


class OODDScore(Score[Dictionary]):
    """The base score less `weight` times the k-th largest cosine to the queue. Higher is more ID.

    The queue holds the images of the lowest base score so far. A batch joins it before it is scored, so an image in it
    is its own nearest neighbour, and the batch size is a knob. A queue that holds the whole stream is full of ID images
    and says nothing: its size must stay well below the number of OOD images.

    Base score and cosine are added as they are, so their ranges matter: NegLabel's lies in [0, 1], MCM's at
    temperature 1 differs in the fourth decimal, where the cosine decides alone.

    Args:
        base: the score that is wrapped; one that learns from the stream may be.
        size: images in the queue at most.
        num_neighbours: k; where the queue holds fewer images, its farthest counts.
        weight: of the cosine; 1 in the official code.

    Shapes: images [B, D] give [B], float64. The state holds size D numbers; a step B size cosines.

    Source: OODD (CVPR 2025, arXiv 2503.10468); official code at edbb1a3, NegLabel/tools/ood_test.py and
        MCM/eval_ood_detection.py.
    Differs: images of equal base score keep the order of the stream; the official heap has no order among them.
    """

    order_dependent: ClassVar[bool] = True

    def __init__(self, base: Score[Any], size: Count, num_neighbours: Count, weight: NotNegative) -> None:
        self.base, self.size, self.num_neighbours, self.weight = base, size, num_neighbours, weight

    @property
    def needs_id_images(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.needs_id_images

    @property
    def needs_encoder(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.needs_encoder

    @property
    def needs_pictures(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.needs_pictures

    def check(self, outline: Outline) -> None:
        self.base.check(outline)

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> Dictionary:
        labels = bank.id_labels.embeddings
        # There is an encoder for every base that needs one.
        base = self.base.init(bank, encoder)  # pyright: ignore[reportArgumentType]
        return Dictionary(base, labels.new_empty(0, dtype=torch.float64), labels[:0], 0)

    def step(self, state: Dictionary, images: Float[Tensor, "B D"]) -> tuple[Judgement, Dictionary]:
        judgement, base = self.base.step(state.base, images)
        base_scores = judgement.scores.double()
        if not len(images):
            return Judgement(base_scores), state
        ordered = torch.cat([state.scores, base_scores]).sort(stable=True)
        queued = torch.cat([state.images, images])[ordered.indices[: self.size]]
        nearest = (images @ queued.T).topk(min(self.num_neighbours, len(queued)), dim=1).values[:, -1]
        state = Dictionary(base, ordered.values[: self.size], queued, state.num_seen + len(images))
        return Judgement(base_scores - self.weight * nearest.double(), judgement.predicted), state

    def finish(self, state: Dictionary) -> None:
        self.base.finish(state.base)
        if state.num_seen <= self.size:
            logger.warning(
                "OODD's queue of %d never overflowed in a stream of %d images: it held every image, ID ones too, and "
                "says nothing about OOD. Lower score.size well below the number of OOD images.",
                self.size,
                state.num_seen,
            )
