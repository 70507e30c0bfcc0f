"""CLIPScope's score: the ID share of the image's class, divided by how often the stream has shown that class."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Positive
from neglab.score.base import Judgement, Score
from neglab.types import Outline, TextBank, TextEncoder, UserError

CHUNK_ELEMENTS = 2**22  # logits and counts held at once, each in up to 32 MiB


@dataclass(frozen=True)
class ClassCounts:
    """Logit weights of the ID classes [C, D] and of the negatives [M, D], and the images counted per class [C]."""

    id_weights: Float[Tensor, "C D"]
    negative_weights: Float[Tensor, "M D"]
    counts: Int[Tensor, " C"]


class CLIPScopeScore(Score[ClassCounts]):
    """p_k m / pi_k of the nearest ID class k: its softmax share p_k within the ID classes, the ID classes' share m
    within all labels, and the prior pi_k, the share of images before this one whose nearest class was k. Higher is
    more ID.

    Every image counts, OOD ones too, after it was scored; each class begins with one. Images of a batch come one
    after the other, so the batch size changes nothing. Frequent classes score lower, harmful where ID classes are
    not equally frequent. The predicted class is k, the nearest text's.

    Args:
        temperature: tau, divides the cosine similarities.

    Raises:
        UserError: no negatives.

    Shapes: images [B, D] and a bank of C + M labels give [B], positive, without an upper bound; float64.

    Source: CLIPScope (Fu et al., WACV 2025), official code d29a315, CLIPScope.py.
    Differs: shares in float64, the official ones in float32.
    """

    order_dependent: ClassVar[bool] = True
    needs_encoder: ClassVar[bool] = False

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def check(self, outline: Outline) -> None:
        if not outline.num_negatives:
            raise UserError(
                "CLIPScope's score needs at least one negative label; got none. Choose a negative_selector."
            )

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> ClassCounts:
        self.check(Outline.of(bank))
        id_weights, negative_weights = bank.id_labels.embeddings, bank.negatives.embeddings
        counts = torch.ones(len(id_weights), dtype=torch.long, device=id_weights.device)
        return ClassCounts(id_weights / self.temperature, negative_weights / self.temperature, counts)

    def step(self, state: ClassCounts, images: Float[Tensor, "B D"]) -> tuple[Judgement, ClassCounts]:
        rows = rows_at_once(images, len(state.id_weights) + len(state.negative_weights), CHUNK_ELEMENTS)
        scores = []
        for part in images.split(rows):
            values, counts = _score_chunk(part, state)
            scores.append(values)
            state = replace(state, counts=counts)
        return Judgement(torch.cat(scores)), state


def _score_chunk(images: Float[Tensor, "B D"], state: ClassCounts) -> tuple[Float[Tensor, " B"], Int[Tensor, " C"]]:
    logits = (images @ state.id_weights.T).double()
    id_mass = logits.logsumexp(dim=1)
    negative_mass = (images @ state.negative_weights.T).logsumexp(dim=1).double()
    largest, nearest = logits.max(dim=1)
    # `one_hot` would look at the indices before it uses them.
    hits = torch.zeros_like(logits, dtype=torch.long).scatter(1, nearest[:, None], 1)
    before = state.counts + hits.cumsum(dim=0) - hits
    prior = before.gather(1, nearest[:, None]).squeeze(1) / before.sum(dim=1).double()
    share = (largest - id_mass).exp() * torch.sigmoid(id_mass - negative_mass)
    return share / prior, state.counts + hits.sum(dim=0)
