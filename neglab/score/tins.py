"""TINS's score: NegLabel's with balanced groups, and negatives that are read off the most OOD-like images so far."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.inversion import (
    SLOT,
    ClassAnchors,
    Descent,
    enlarged,
    image_anchors,
    invert,
    new_negatives,
    word_prompts,
)
from neglab.on_device import rows_at_once
from neglab.ranges import Count, NotNegative, Positive, Seed, Share
from neglab.score.base import Judgement, Score
from neglab.score.neglabel import CHUNK_ELEMENTS, GroupedBank, NegLabelScore
from neglab.types import Outline, TextBank, TextEncoder, UserError, generator


@dataclass(frozen=True)
class RankedTexts:
    """Embeddings [K, D] and their deviation degrees [K]."""

    embeddings: Float[Tensor, "K D"]
    degrees: Float[Tensor, " K"]

    def __len__(self) -> int:
        return len(self.degrees)

    def __getitem__(self, rows: slice | Int[Tensor, " N"]) -> "RankedTexts":
        return RankedTexts(self.embeddings[rows], self.degrees[rows])

    def joined(self, other: "RankedTexts") -> "RankedTexts":
        return RankedTexts(torch.cat([self.embeddings, other.embeddings]), torch.cat([self.degrees, other.degrees]))

    def ranked(self) -> "RankedTexts":
        """By falling degree; of equal ones the older comes first."""
        return self[self.degrees.argsort(descending=True, stable=True)]


@dataclass(frozen=True)
class TINSState:
    """The text bank, the words to begin with, and the extra negatives of the images so far.

    Attributes:
        text: the bank without extras.
        encoder: of the pseudo-words.
        anchors: what extras are compared with.
        words: each negative's name in the inversion's template, [M, D].
        word_costs: lambda times the mean over classes of 1 + cos(word, p_c), [M].
        grouped: bank and extras, permuted.
        extras: at most K.
        buffer: what the extras left over since it was last emptied.
        num_inverted: images that were inverted.
        num_not_finite: inversions that failed and were dropped.
    """

    text: TextBank
    encoder: TextEncoder
    anchors: ClassAnchors
    words: Float[Tensor, "M D"]
    word_costs: Float[Tensor, " M"]
    grouped: GroupedBank
    extras: RankedTexts
    buffer: RankedTexts
    num_inverted: int
    num_not_finite: int


class TINSScore(Score[TINSState]):
    """The ID classes' share against groups of equal weight, over a bank that grows with the stream. Higher is more ID.

    In a group g the negatives' mass is scaled by C / |g|, so that both sides weigh alike however many labels they have.
    Images that score below `threshold` are turned into texts: the negative whose prompt is nearest gives the first
    words, its last token is optimised towards the image and away from all mean ID images. A text goes on as an extra
    negative where it is farther from every class's mean ID image than the class's name is. Then the whole batch is
    scored again. The predicted class is the nearest text's; the official code predicts none.

    Args:
        num_groups: G; the remainder is dropped from the end of bank and extras, before the permutation.
        temperature: tau, divides the cosine similarities.
        group_seed: of the groups' permutation and of the draw that empties the buffer.
        threshold: S below which an image is inverted.
        template: prompt of a word, with one `{}`.
        repulsion_weight: lambda, of the mean similarity to the mean ID images.
        steps: of the optimiser.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        num_extras: K, extra negatives in use.
        buffer_size: texts left over after which K extras are drawn from the extras and the buffer's better half;
            None: what is left over is lost.

    Raises:
        UserError: no ID images of a class, or fewer negatives than groups.

    Shapes: images [B, D] give [B], in [0, 1], float64.

    Source: TINS (arXiv 2605.10756), official code, eval_tins_w_init.py.
    Differs: the groups' permutation comes from a CPU generator, the code's from CUDA's (the buffer's draw is a CPU draw
        there too). Extras are float32, the code's float16; of equal degrees the older comes first. Inversions that are
        not finite are dropped and counted.
    """

    order_dependent: ClassVar[bool] = True
    needs_id_images = True
    needs_encoder: ClassVar[bool] = True

    def __init__(
        self,
        num_groups: Count,
        temperature: Positive,
        group_seed: Seed,
        threshold: Share,
        template: str,
        repulsion_weight: NotNegative,
        steps: Count,
        learning_rate: Positive,
        weight_decay: NotNegative,
        num_extras: Count,
        buffer_size: Count | None,
    ) -> None:
        self.neglabel = NegLabelScore(num_groups, temperature, group_seed)
        self.descent = Descent(steps, learning_rate, weight_decay)
        if template.count(SLOT) != 1:
            raise UserError(f"score.template must hold one {SLOT}; got {template!r}. Such as 'a photo of a {SLOT}.'")
        self.threshold, self.template, self.repulsion_weight = threshold, template, repulsion_weight
        self.num_extras, self.buffer_size = num_extras, buffer_size

    @property
    def neutral(self) -> float:
        return 0.5

    def check(self, outline: Outline) -> None:
        self.neglabel.check(outline)

    def init(self, bank: TextBank, encoder: TextEncoder) -> TINSState:
        grouped = self.neglabel.prepare(bank)
        anchors = image_anchors(bank.id_labels, bank.id_images)
        embeddings = bank.id_labels.embeddings
        words = encoder.encode_texts([self.template.replace(SLOT, name) for name in bank.negatives.names])
        words = words.to(embeddings.device)
        costs = self.repulsion_weight * (1 + words @ anchors.prototypes.mean(dim=0))
        nothing = RankedTexts(embeddings[:0], embeddings.new_zeros(0))
        return TINSState(bank, encoder, anchors, words, costs, grouped, nothing, nothing, 0, 0)

    def step(self, state: TINSState, images: Float[Tensor, "B D"]) -> tuple[Judgement, TINSState]:
        scores = balanced_share(images, state.grouped, self.neglabel.num_groups)
        active = (scores < self.threshold).nonzero().flatten()
        if not len(active):
            return Judgement(scores), state
        texts = self._invert(state, images[active])
        accepted, degrees, num_failed = new_negatives(texts, state.anchors)
        state = replace(
            state,
            num_inverted=state.num_inverted + len(texts),
            num_not_finite=state.num_not_finite + num_failed,
        )
        if not len(accepted):
            return Judgement(scores), state
        state = self._with_extras(state, RankedTexts(texts[accepted], degrees))
        return Judgement(balanced_share(images, state.grouped, self.neglabel.num_groups)), state

    def _invert(self, state: TINSState, images: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        rows = rows_at_once(images, len(state.words), CHUNK_ELEMENTS)
        # The word with the lowest loss; its constant 1 changes nothing.
        best = torch.cat([(state.word_costs - part @ state.words.T).argmin(dim=1) for part in images.split(rows)])
        distinct, own = best.unique(return_inverse=True)
        names = [state.text.negatives.names[i] for i in distinct.tolist()]
        prompts = word_prompts(state.encoder, self.template, names, images.device)
        start = prompts.tokens[own, prompts.slots[own, 0]][:, None]
        drawn = own.expand(self.descent.steps, -1)
        repulsion = self.repulsion_weight * state.anchors.prototypes.mean(dim=0)
        return invert(state.encoder, prompts, drawn, start, images, self.descent, repulsion)

    def _with_extras(self, state: TINSState, new: RankedTexts) -> TINSState:
        ranked = state.extras.joined(new).ranked()
        extras, buffer = ranked[: self.num_extras], state.buffer
        if self.buffer_size is not None:
            buffer = buffer.joined(ranked[self.num_extras :])
            if len(buffer) >= self.buffer_size:
                pool = extras.joined(buffer.ranked()[: len(buffer) // 2])
                order = torch.randperm(len(pool), generator=generator(self.neglabel.group_seed))
                extras = pool[order[: self.num_extras].to(pool.degrees.device)]
                buffer = buffer[:0]
        grouped = self.neglabel.prepare(enlarged(state.text, extras.embeddings))
        return replace(state, extras=extras, buffer=buffer, grouped=grouped)


def balanced_share(images: Float[Tensor, "B D"], bank: GroupedBank, num_groups: int) -> Float[Tensor, " B"]:
    """Mean over groups of P / (P + C / |g| * N_g), P and N_g being the sums of exp over ID classes and a group."""
    labels = len(bank.id_weights) + len(bank.negative_weights)
    scale = math.log(len(bank.id_weights) * num_groups / len(bank.negative_weights))
    shares = []
    for part in images.split(rows_at_once(images, labels, CHUNK_ELEMENTS)):
        id_mass = (part @ bank.id_weights.T).logsumexp(dim=1, keepdim=True)
        group_mass = (part @ bank.negative_weights.T).unflatten(1, (num_groups, -1)).logsumexp(dim=2)
        shares.append(torch.sigmoid(id_mass.double() - group_mass.double() - scale).mean(dim=1))
    return torch.cat(shares)
