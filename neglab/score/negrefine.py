"""NegRefine's score: NegLabel's, and a look at whether the image shows an ID class together with a negative label."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Count, NotNegative, Positive, Seed
from neglab.score.base import Judgement, Score
from neglab.score.neglabel import GroupedBank, NegLabelScore
from neglab.types import Outline, TextBank, TextEncoder

CHUNK_ELEMENTS = 2**22  # elements of pair embeddings gathered at once: 16 MiB


@dataclass(frozen=True)
class PairBank:
    """The text bank, and the pairs that were encoded so far.

    Attributes:
        grouped: what NegLabel's score needs.
        text: the text bank.
        encoder: of the pairs.
        pairs: [P], class * M + negative, rising.
        pair_embeddings: [P, D].
    """

    grouped: GroupedBank
    text: TextBank
    encoder: TextEncoder
    pairs: Int[Tensor, " P"]
    pair_embeddings: Float[Tensor, "P D"]


class NegRefineScore(Score[PairBank]):
    """NegLabel's score plus `pair_weight` times the best win of "class and negative" over that negative alone.

    With h the image, s the cosine over the temperature, i one of its nearest ID classes and j one of its nearest
    negatives: S_MM = max_ij sigmoid(s(h, "i and j") - s(h, j)). An image of a dog in grass is near "grass" and nearer
    to "dog and grass". Higher is more ID; the score lies in [0, 1 + pair_weight].

    A (class, negative) pair is encoded once per run and kept, so the cost follows the number of distinct pairs.

    Args:
        num_groups: of NegLabel's score.
        temperature: tau, divides the cosine similarities.
        group_seed: of NegLabel's permutation.
        pair_weight: alpha, of S_MM.
        num_classes: nearest ID classes per image, at most C.
        num_negatives: nearest negatives per image, at most M, those included that the groups drop.

    Shapes: images [B, D] give [B], float64.

    Source: NegRefine (Ansari et al., ICCV 2025), official code at 72e4b82d, clip_ood.py.
    Differs: all images of a batch at once; the official code encodes 200 texts for every image. It divides exponentials
        in float32, which is NaN where 100 cos > 88.7; here the sigmoid of their difference stays finite. The groups are
        NegLabel's, from a CPU permutation.
    """

    order_dependent: ClassVar[bool] = False

    def __init__(
        self,
        num_groups: Count,
        temperature: Positive,
        group_seed: Seed,
        pair_weight: NotNegative,
        num_classes: Count,
        num_negatives: Count,
    ) -> None:
        self.neglabel = NegLabelScore(num_groups, temperature, group_seed)
        self.pair_weight, self.num_classes, self.num_negatives = pair_weight, num_classes, num_negatives

    def check(self, outline: Outline) -> None:
        self.neglabel.check(outline)

    def init(self, bank: TextBank, encoder: TextEncoder) -> PairBank:
        negatives = bank.negatives.embeddings
        no_pairs = torch.empty(0, dtype=torch.long, device=negatives.device)
        return PairBank(self.neglabel.prepare(bank), bank, encoder, no_pairs, negatives[:0])

    def step(self, state: PairBank, images: Float[Tensor, "B D"]) -> tuple[Judgement, PairBank]:
        (static, _), _ = self.neglabel.step(state.grouped, images)
        negatives = state.text.negatives.embeddings
        near_classes = _nearest(images, state.text.id_labels.embeddings, self.num_classes)
        near_negatives = _nearest(images, negatives, self.num_negatives)
        pairs = (near_classes[:, :, None] * len(negatives) + near_negatives[:, None, :]).flatten(1)
        distinct, place = pairs.unique(return_inverse=True)
        state = _with_pairs(state, distinct)
        row = torch.searchsorted(state.pairs, distinct)[place]
        chunk = rows_at_once(images, pairs.shape[1] * images.shape[1], CHUNK_ELEMENTS)
        wins = [
            _best_win(part, state.pair_embeddings[rows], negatives[own], self.neglabel.temperature)
            for part, rows, own in zip(
                images.split(chunk), row.split(chunk), (pairs % len(negatives)).split(chunk), strict=True
            )
        ]
        return Judgement(static + self.pair_weight * torch.cat(wins)), state


def _nearest(images: Float[Tensor, "B D"], labels: Float[Tensor, "N D"], count: int) -> Int[Tensor, "B K"]:
    return (images @ labels.T).topk(min(count, len(labels)), dim=1).indices


def _best_win(
    images: Float[Tensor, "B D"],
    pairs: Float[Tensor, "B P D"],
    negatives: Float[Tensor, "B P D"],
    temperature: float,
) -> Float[Tensor, " B"]:
    margin = torch.einsum("bd,bpd->bp", images, pairs) - torch.einsum("bd,bpd->bp", images, negatives)
    return torch.sigmoid(margin.double() / temperature).amax(dim=1)  # float32 rounds every clear win to 1


def _with_pairs(state: PairBank, wanted: Int[Tensor, " P"]) -> PairBank:
    """The state with these pairs among the encoded ones."""
    missing = wanted[torch.isin(wanted, state.pairs, invert=True)]
    if not len(missing):
        return state
    classes, negatives = state.text.id_labels.names, state.text.negatives.names
    names = [f"{classes[pair // len(negatives)]} and {negatives[pair % len(negatives)]}" for pair in missing.tolist()]
    # Pairs take the nouns' prompts, a phrase with an adjective too.
    embeddings = state.encoder.encode(names, ("noun",) * len(names)).to(state.pair_embeddings.device)
    pairs, order = torch.cat([state.pairs, missing]).sort()
    return replace(state, pairs=pairs, pair_embeddings=torch.cat([state.pair_embeddings, embeddings])[order])
