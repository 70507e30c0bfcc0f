"""ANTS's score: negatives that a multimodal language model finds by looking at the stream's suspicious images."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from neglab.chat.captions import Captioner, cleaned, numbered
from neglab.on_device import places
from neglab.ranges import Count, CountOrZero, Positive, Seed, Share
from neglab.score.base import Judgement, Score
from neglab.score.neglabel import NegLabelScore
from neglab.score.tanl import id_share, otsu_variances
from neglab.types import Outline, TextBank, TextEncoder, UserError

logger = logging.getLogger(__name__)

SPACES = ("far", "near", "adaptive")
MAX_FAR = 10_000  # described images whose labels are kept
MIN_CANDIDATES = 200  # with more of them the model is asked
MOST_FREQUENT = 40  # predicted classes whose look-alikes are wanted
LOOK_ALIKES = 5  # of each
REPEATS = 10  # of the near labels, for the balance
SCORE_QUEUE = 20_000  # far scores that the activation's threshold looks back on
EDGES = np.arange(0.0, 1.1, 0.1)  # of the histogram of base scores
BLANK = Image.new("RGB", (28, 28))  # shown where no image belongs to the question


@dataclass(frozen=True)
class Spaces:
    """What was found in the stream so far.

    Attributes:
        bank: the text bank.
        encoder: of the found labels; it knows the images' pictures.
        gamma: below it an image is a candidate.
        num_batches: so far.
        base_scores: [R], of all images, on the CPU.
        predicted: [R], their nearest ID classes, on the CPU.
        candidates: [K, D], images that wait to be described.
        candidate_classes: [K], their nearest ID classes.
        num_updates: how often images were described.
        far: [F, D], embeddings of descriptions, the newest first.
        near: [V, D], embeddings of look-alikes.
        look_alikes: of each class that was asked for and is still frequent.
        far_scores: [Q], the last plain far scores, on the CPU.
        balance: sums of the balanced far and near scores, and how many there are.
    """

    bank: TextBank
    encoder: Any
    gamma: float
    base_scores: Float[Tensor, " R"]
    predicted: Int[Tensor, " R"]
    candidates: Float[Tensor, "K D"]
    candidate_classes: Int[Tensor, " K"]
    far: Float[Tensor, "F D"]
    near: Float[Tensor, "V D"]
    far_scores: Float[Tensor, " Q"]
    num_batches: int = 0
    num_updates: int = 0
    look_alikes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    balance: tuple[float, float, int] = (0.0, 0.0, 0)


class ANTSScore(Score[Spaces]):
    """NegLabel's share against labels that a language model gives to images of the stream. Higher is more ID.

    Far space: images whose NegLabel score is below gamma are candidates; once more than 200 wait they are described in
    a few words, which are the negatives, and gamma becomes a quantile of all scores so far below their histogram's
    largest jump. Near space: the model names look-alikes of the 40 classes predicted most often. Until there are any,
    NegLabel's score stands. "adaptive": w far + (1 - w) near, w growing as the far space's mean score falls.

    The batch that completes the candidates is scored with what they gave. The published rows know beforehand whether
    OOD is far or near.

    Args:
        space: "far", "near" or "adaptive".
        captioner: the language model, or its recorded answers.
        temperature: tau, divides the cosines.
        group_size: negatives per group; the permutation's remainder is dropped from the end of a bank.
        group_seed: of the permutations.
        first_gamma: gamma until the first update.
        quantile: eta, of the scores below the jump.
        max_updates: how often images are described at most.
        num_active: words of the far score, those that the batch's confident OOD images activate most, as in TANL; all
            where there are fewer. None: the plain share.
        prefix_step: of TANL's mean over growing prefixes.
        gap: of TANL's confident images.
        first_batch: the first in which look-alikes are asked for, counted from 1.
        interval: batches until they are asked for again.
        picture_size: pixels, to which a picture is resized before it is shown; None: as it is.
        describe: the question about an image; {} stands for its nearest ID class.
        describe_tokens: longest answer.
        suggest: the question for look-alikes of {}.
        suggest_tokens: longest answer.

    Raises:
        UserError: an unknown space, no negatives, or no pictures of the images to be scored.

    Shapes: images [B, D] give [B], in [0, 1]; float64.

    Source: ANTS (CVPR 2026, arXiv 2509.03951); official code at cb26642, ants_postprocessor.py and ants/.
    Differs: float32 logits, float64 shares. Questions go to a server, one by one, at the temperature of its config; the
        official Qwen samples. Of equally relevant words the first counts.
    """

    order_dependent: ClassVar[bool] = True
    needs_pictures: ClassVar[bool] = True

    def __init__(
        self,
        space: str,
        captioner: Captioner,
        temperature: Positive,
        group_size: Count,
        group_seed: Seed,
        first_gamma: Share,
        quantile: Share,
        max_updates: CountOrZero,
        num_active: Count | None,
        prefix_step: Count,
        gap: Share,
        first_batch: Count,
        interval: Count,
        picture_size: Count | None,
        describe: str,
        describe_tokens: Count,
        suggest: str,
        suggest_tokens: Count,
    ) -> None:
        if space not in SPACES:
            raise UserError(f"score.space must be {' or '.join(SPACES)}; got {space}.")
        self.space, self.captioner, self.temperature = space, captioner, temperature
        self.group_size, self.group_seed = group_size, group_seed
        self.first_gamma, self.quantile, self.max_updates = first_gamma, quantile, max_updates
        self.num_active, self.prefix_step, self.gap = num_active, prefix_step, gap
        self.first_batch, self.interval, self.picture_size = first_batch, interval, picture_size
        self.describe, self.describe_tokens = describe, describe_tokens
        self.suggest, self.suggest_tokens = suggest, suggest_tokens

    @property
    def neutral(self) -> float:
        return 0.5

    def check(self, outline: Outline) -> None:
        if not outline.num_negatives:
            raise UserError("ANTS begins with NegLabel's negatives; got none. Choose a negative_selector.")

    def init(self, bank: TextBank, encoder: TextEncoder) -> Spaces:
        self.check(Outline.of(bank))
        if getattr(encoder, "gallery", None) is None:
            raise UserError(
                "This score looks at the pictures of a benchmark's images, which this command does not hand on. Score "
                "them with `neglab`, or choose another method."
            )
        labels = bank.id_labels.embeddings
        nothing, no_class = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.long)
        empty = labels[:0]
        return Spaces(bank, encoder, self.first_gamma, nothing, no_class, empty, no_class, empty, empty, nothing)

    def step(self, state: Spaces, images: Float[Tensor, "B D"]) -> tuple[Judgement, Spaces]:
        base = self._share(state, images, state.bank.negatives.embeddings)
        here = base.cpu()
        predicted = (images @ state.bank.id_labels.embeddings.T).argmax(dim=1).cpu()
        state = replace(
            state,
            num_batches=state.num_batches + 1,
            base_scores=torch.cat([state.base_scores, here]),
            predicted=torch.cat([state.predicted, predicted]),
        )
        if self.space != "near" and state.num_updates < self.max_updates:
            state = self._described(self._with_candidates(state, images, predicted, here))
        if self.space != "far" and (wait := state.num_batches - self.first_batch) >= 0 and wait % self.interval == 0:
            state = self._with_look_alikes(state)
        far, state = self._far(state, images, base)
        near = self._share(state, images, state.near) if len(state.near) else base
        if self.space != "adaptive":
            return Judgement(far if self.space == "far" else near), state
        scores, state = self._balanced(state, images, base, far, near)
        return Judgement(scores), state

    def _share(
        self, state: Spaces, images: Float[Tensor, "B D"], negatives: Float[Tensor, "M D"], size: int | None = None
    ) -> Float[Tensor, " B"]:
        """NegLabel's score in groups of about this size."""
        num_groups = max(1, len(negatives) // (size or self.group_size))
        neglabel = NegLabelScore(num_groups, self.temperature, self.group_seed)
        return neglabel.score(images, neglabel.bank_of(state.bank.id_labels.embeddings, negatives))

    def _with_candidates(
        self, state: Spaces, images: Float[Tensor, "B D"], predicted: Int[Tensor, " B"], base: Float[Tensor, " B"]
    ) -> Spaces:
        chosen = base < state.gamma
        candidates = torch.cat([state.candidates, images[places(chosen, images.device)]])
        classes = torch.cat([state.candidate_classes, predicted[chosen]])
        return replace(state, candidates=candidates, candidate_classes=classes)

    def _described(self, state: Spaces) -> Spaces:
        """The candidates as negatives, once there are enough."""
        if len(state.candidates) <= MIN_CANDIDATES:
            return state
        names = state.bank.id_labels.names
        questions = [self.describe.replace("{}", names[i]) for i in state.candidate_classes.tolist()]
        pictures = [self._shown(picture) for picture in state.encoder.gallery.pictures(state.candidates)]
        labels = cleaned(self.captioner(pictures, questions, self.describe_tokens))
        far = state.far
        if labels:
            far = torch.cat([state.encoder.encode_texts(labels).to(far.device), far])[-MAX_FAR:]
        return replace(
            state,
            gamma=adapted_gamma(state.base_scores, self.quantile),
            candidates=state.candidates[:0],
            candidate_classes=state.candidate_classes[:0],
            far=far,
            num_updates=state.num_updates + 1,
        )

    def _with_look_alikes(self, state: Spaces) -> Spaces:
        """The look-alikes of the classes that are most frequent now; new ones are asked for."""
        frequent = [i for i, _ in Counter(state.predicted.tolist()).most_common(MOST_FREQUENT)]
        new = [i for i in frequent if i not in state.look_alikes]
        questions = [self.suggest.replace("{}", state.bank.id_labels.names[i]) for i in new]
        answers = self.captioner([BLANK] * len(new), questions, self.suggest_tokens)
        found = {i: tuple(numbered(answer, LOOK_ALIKES)) for i, answer in zip(new, answers, strict=True)}
        kept = {i: labels for i, labels in {**state.look_alikes, **found}.items() if i in frequent}
        labels = cleaned(label for labels in kept.values() for label in labels)
        near = state.near[:0]
        if labels:
            near = state.encoder.encode(labels, ("noun",) * len(labels)).to(near.device)
        return replace(state, look_alikes=kept, near=near)

    def _shown(self, picture: Image.Image) -> Image.Image:
        if self.picture_size is None:
            return picture
        return picture.resize((self.picture_size, self.picture_size), Image.Resampling.BILINEAR)

    def _far(
        self, state: Spaces, images: Float[Tensor, "B D"], base: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, " B"], Spaces]:
        if not len(state.far):
            return base, state
        far = self._share(state, images, state.far)
        if self.num_active is None:
            return far, state
        here = far.cpu()
        state = replace(state, far_scores=torch.cat([state.far_scores, here])[-SCORE_QUEUE:])
        threshold = first_threshold(state.far_scores)
        confident = here > threshold + self.gap * (1 - threshold), here < threshold - self.gap * threshold
        high, low = (places(chosen, far.device) for chosen in confident)
        if not len(high) or not len(low):
            return far, state
        banks = state.bank.id_labels.embeddings, state.far
        id_logits, logits = (images @ labels.T / self.temperature for labels in banks)
        shares = torch.cat([id_logits, logits], dim=1).softmax(dim=1)[:, id_logits.shape[1] :]
        relevance = shares[low].mean(dim=0) - shares[high].mean(dim=0)
        words = relevance.argsort(descending=True, stable=True)[: self.num_active]
        return id_share(id_logits, logits[:, words], self.prefix_step), state

    def _balanced(
        self,
        state: Spaces,
        images: Float[Tensor, "B D"],
        base: Float[Tensor, " B"],
        far: Float[Tensor, " B"],
        near: Float[Tensor, " B"],
    ) -> tuple[Float[Tensor, " B"], Spaces]:
        """Both scores, weighted by how much each space doubts the images so far, in groups as large as the ID set."""
        repeated = state.near.repeat(REPEATS, 1)
        num_images, size = state.balance[2] + len(images), len(state.bank.id_labels)
        scores = (self._share(state, images, one, size) if len(one) else base for one in (state.far, repeated))
        added = torch.stack([score.sum() for score in scores]).tolist()
        sums = [total + new for total, new in zip(state.balance[:2], added, strict=True)]
        doubts = [1 - total / num_images for total in sums]
        weight = doubts[0] / sum(doubts) if sum(doubts) > 0 else 0.5
        return weight * far + (1 - weight) * near, replace(state, balance=(*sums, num_images))


def adapted_gamma(base_scores: Float[Tensor, " R"], quantile: float) -> float:
    """A quantile of the scores below the edge where their histogram jumps most; of all where none is below."""
    values = base_scores.numpy()
    counts, _ = np.histogram(values, EDGES)
    below = values[values < EDGES[np.abs(np.diff(counts)).argmax() + 1]]
    return float(np.quantile(below if len(below) else values, quantile))


def first_threshold(scores: Float[Tensor, " R"]) -> float:
    """Otsu's threshold among 0.00, ..., 0.99, of equally good ones the first; the median where none divides."""
    thresholds, variances = otsu_variances(scores)
    if not variances.isfinite().any():
        return scores.median().item()
    return thresholds[variances.argmin()].item()
