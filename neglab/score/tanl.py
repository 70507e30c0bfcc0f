"""TANL's score: NegLabel's share against the words of the whole corpus that the stream's OOD images activate."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from neglab.on_device import places, rows_at_once
from neglab.ranges import Count, CountOrZero, Positive, Seed, Share
from neglab.score.base import Judgement, Score
from neglab.types import Outline, TextBank, TextEncoder, UserError, generator

CHUNK_ELEMENTS = 2**24  # logits held at once: 64 MiB
SCORE_QUEUE = 20_000  # gate scores that the threshold looks back on

WEIGHTINGS = ("none", "inside", "outside")
NOISES = ("images", "text", "random")


@dataclass(frozen=True)
class Activations:
    """The pool and what confident images activated of it. Activation: a word's share in the softmax over all labels.

    Attributes:
        id_labels: [C, D].
        pool: [W, D], the bank's negatives.
        id_queue: [P, W], activations of the last ID-confident images, at first of ID texts, oldest first.
        ood_queue: [Q, W], of the last OOD-confident images, at first of noise.
        gate_scores: [R], the last gate scores, oldest first, on the CPU.
    """

    id_labels: Float[Tensor, "C D"]
    pool: Float[Tensor, "W D"]
    id_queue: Float[Tensor, "P W"]
    ood_queue: Float[Tensor, "Q W"]
    gate_scores: Float[Tensor, " R"]


class TANLScore(Score[Activations]):
    """The ID classes' softmax share against the `num_active` words with the largest activation by OOD less that by
    ID images. Higher is more ID.

    Per batch: a gate score against the words that the queues activate; a threshold t by Otsu's rule over the last
    20,000 gate scores; images above t + gap (1 - t) are ID-confident, those below t (1 - gap) OOD-confident; the
    words are chosen again by `history_weight` times the queues' mean activation plus the rest times the batch's; the
    whole batch is scored against them; then the confident images join the queues. The batch size is a knob. The
    predicted class is the nearest text's, as in the official code.

    Args:
        temperature: tau, divides the cosine similarities.
        num_active: beta, words in the score.
        prefix_step: gamma; 0: one softmax. k: the mean over the first k, 2k, ... words, the last time all.
        weighting: of the words in the final score, by activation over mean activation; it takes the place of the
            prefixes there. "none"; "inside" multiplies the logits, "outside" the exponentials.
        history_weight: alpha, of the queues against the batch, in [0, 1].
        gap: a share of the way from the threshold to 1 and to 0.
        memory_length: images per queue.
        noise: what the OOD queue begins with: "images", pictures of noise; "text", the pool's words that are farthest
            from every ID class; or "random", directions.
        num_noise: how many of them.
        seed: of the ID texts' permutation, and of the noise.

    Raises:
        UserError: more active words or noise than the pool has.

    Shapes: images [B, D] and a pool of W words give [B], in [0, 1]; float64. The state holds 2 memory_length W
        numbers, 167 MB for 300 images and 69,554 words, twice that while a step runs; stored embeddings would be small
        but double the work of a batch of 256.

    Source: TANL (CVPR 2026, arXiv 2603.25250); OpenOOD-VLM at 804f331, activated_neg_postprocessor.py. The weightings
        stand there as comments.
    Differs: float32 logits and float64 shares; the official final score is fp16. The official noise is not
        seeded. Negative activations weigh 0; the official logarithm fails on them. Equal activations
        keep the pool's order.
    """

    order_dependent: ClassVar[bool] = True
    needs_encoder: ClassVar[bool] = True  # of the noise

    def __init__(
        self,
        temperature: Positive,
        num_active: Count,
        prefix_step: CountOrZero,
        weighting: str,
        history_weight: Share,
        gap: Share,
        memory_length: Count,
        noise: str,
        num_noise: Count,
        seed: Seed,
    ) -> None:
        for name, value, known in (("weighting", weighting, WEIGHTINGS), ("noise", noise, NOISES)):
            if value not in known:
                raise UserError(f"score.{name} must be {' or '.join(known)}; got {value}.")
        self.temperature, self.num_active, self.prefix_step = temperature, num_active, prefix_step
        self.weighting, self.history_weight, self.gap, self.memory_length = (
            weighting,
            history_weight,
            gap,
            memory_length,
        )
        self.noise, self.num_noise, self.seed = noise, num_noise, seed

    @property
    def neutral(self) -> float:
        return 0.5

    def check(self, outline: Outline) -> None:
        if outline.num_negatives < self.num_active:
            raise UserError(
                f"num_active must be at most the number of negatives; got num_active={self.num_active} with "
                f"{outline.num_negatives} negatives. Lower score.num_active or choose negative_selector=all."
            )
        if self.noise == "text" and outline.num_negatives < self.num_noise:
            raise UserError(
                f"num_noise must be at most the number of negatives; got num_noise={self.num_noise} with "
                f"{outline.num_negatives} negatives. Lower score.num_noise or choose score.noise=random."
            )

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> Activations:
        self.check(Outline.of(bank))
        id_labels, pool = bank.id_labels.embeddings, bank.negatives.embeddings
        draw = generator(self.seed)
        texts = torch.randperm(len(id_labels), generator=draw)[-self.memory_length :].to(id_labels.device)
        noise = self._noise(id_labels, pool, encoder, draw)
        no_rows = pool.new_empty(0, len(pool))
        state = Activations(id_labels, pool, no_rows, no_rows, torch.empty(0, dtype=torch.float64))
        _, id_queue = self._activate(state, id_labels[texts])
        _, ood_queue = self._activate(state, noise)
        state = replace(state, id_queue=id_queue, ood_queue=ood_queue)
        words = self._most_active(ood_queue.mean(dim=0) - id_queue.mean(dim=0))
        scores = self._share(state, torch.cat([id_labels, noise]), words, self.prefix_step)
        return replace(state, gate_scores=scores.cpu())

    def step(self, state: Activations, images: Float[Tensor, "B D"]) -> tuple[Judgement, Activations]:
        id_activation, ood_activation = state.id_queue.mean(dim=0), state.ood_queue.mean(dim=0)
        gate = self._share(state, images, self._most_active(ood_activation - id_activation), self.prefix_step)
        gate = gate.cpu()
        gate_scores = torch.cat([state.gate_scores, gate])[-SCORE_QUEUE:].clone()
        threshold = otsu_threshold(gate_scores)
        id_images = images[places(gate > threshold + self.gap * (1 - threshold), images.device)]
        ood_images = images[places(gate < threshold - self.gap * threshold, images.device)]
        id_queue, ood_queue = state.id_queue, state.ood_queue
        if len(id_images):
            batch, rows = self._activate(state, id_images)
            id_activation = self.history_weight * id_activation + (1 - self.history_weight) * batch
            id_queue = _push(id_queue, rows, self.memory_length)
        if len(ood_images):
            batch, rows = self._activate(state, ood_images)
            ood_activation = self.history_weight * ood_activation + (1 - self.history_weight) * batch
            ood_queue = _push(ood_queue, rows, self.memory_length)
        activation = ood_activation - id_activation
        words = self._most_active(activation)
        if self.weighting == "none":
            scores = self._share(state, images, words, self.prefix_step)
        else:
            scores = self._share(state, images, words, 0, relative_activation(activation[words]))
        return Judgement(scores), replace(state, id_queue=id_queue, ood_queue=ood_queue, gate_scores=gate_scores)

    def _noise(
        self,
        id_labels: Float[Tensor, "C D"],
        pool: Float[Tensor, "W D"],
        encoder: TextEncoder | None,
        draw: torch.Generator,
    ) -> Float[Tensor, "Q D"]:
        if self.noise == "images":
            encode_noise_images = getattr(encoder, "encode_noise_images", None)
            if encode_noise_images is None:
                raise UserError("score.noise=images needs an image tower; here is none. Choose score.noise=text.")
            return encode_noise_images(self.num_noise, self.seed).to(pool.device)
        if self.noise == "random":
            return normalize(torch.randn(self.num_noise, pool.shape[1], generator=draw), dim=1).to(pool.device)
        parts = pool.split(rows_at_once(pool, len(id_labels), CHUNK_ELEMENTS))
        nearest = torch.cat([(part @ id_labels.T).amax(dim=1) for part in parts])
        return pool[nearest.argsort(stable=True)[: self.num_noise]]

    def _activate(
        self, state: Activations, images: Float[Tensor, "K D"]
    ) -> tuple[Float[Tensor, " W"], Float[Tensor, "Q W"]]:
        """The mean activations of the images, and the last `memory_length` images' own."""
        total, kept = state.pool.new_zeros(len(state.pool)), state.pool.new_empty(0, len(state.pool))
        for part in images.split(rows_at_once(images, len(state.pool), CHUNK_ELEMENTS)):
            id_logits, logits = (part @ labels.T / self.temperature for labels in (state.id_labels, state.pool))
            mass = torch.logaddexp(id_logits.logsumexp(dim=1), logits.logsumexp(dim=1))
            rows = logits.sub_(mass[:, None]).exp_()
            total = total + rows.sum(dim=0)
            kept = _push(kept, rows[-self.memory_length :], self.memory_length)
        return total / len(images), kept

    def _most_active(self, activation: Float[Tensor, " W"]) -> Int[Tensor, " N"]:
        return activation.argsort(descending=True, stable=True)[: self.num_active]

    def _share(
        self,
        state: Activations,
        images: Float[Tensor, "B D"],
        words: Int[Tensor, " N"],
        prefix_step: int,
        weights: Float[Tensor, " N"] | None = None,
    ) -> Float[Tensor, " B"]:
        negatives, scores = state.pool[words], []
        for part in images.split(rows_at_once(images, len(state.id_labels) + len(words), CHUNK_ELEMENTS)):
            id_logits, logits = (part @ labels.T / self.temperature for labels in (state.id_labels, negatives))
            if weights is not None:
                logits = weighted(logits, weights, self.weighting)
            scores.append(id_share(id_logits, logits, prefix_step))
        return torch.cat(scores)


def id_share(
    id_logits: Float[Tensor, "B C"], negative_logits: Float[Tensor, "B N"], prefix_step: int
) -> Float[Tensor, " B"]:
    """The ID classes' softmax share; with a prefix step, its mean over growing prefixes of the negatives."""
    id_mass = id_logits.logsumexp(dim=1, keepdim=True).double()
    count = negative_logits.shape[1]
    if prefix_step == 0:
        masses = negative_logits.logsumexp(dim=1, keepdim=True)
    else:
        last = [min(first + prefix_step, count) - 1 for first in range(0, count, prefix_step)]
        masses = negative_logits.logcumsumexp(dim=1)[:, last]
    return torch.sigmoid(id_mass - masses.double()).mean(dim=1)


def weighted(logits: Float[Tensor, "B N"], weights: Float[Tensor, " N"], weighting: str) -> Float[Tensor, "B N"]:
    """Negative logits under weights inside or outside of the exponential; weight 1 changes nothing."""
    return logits * weights if weighting == "inside" else logits + weights.log()


def relative_activation(activation: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Activations over their mean, below 0 counting as 0; ones where nothing is active."""
    positive = activation.clamp(min=0)
    mean = positive.mean()
    return torch.where(mean > 0, positive / mean, torch.ones_like(positive))


def otsu_threshold(scores: Float[Tensor, " R"]) -> float:
    """Otsu's threshold among 0.00, 0.01, ..., 0.99: the least variance within the two sides, weighted by their sizes.

    Of equally good thresholds the upper middle one; 0.50 where no threshold divides the scores.
    """
    thresholds, within = otsu_variances(scores)
    best = (within == within.min()).nonzero().flatten()
    return thresholds[best[len(best) // 2]].item()


def otsu_variances(scores: Float[Tensor, " R"]) -> tuple[Float[Tensor, "100"], Float[Tensor, "100"]]:
    """The thresholds 0.00, 0.01, ..., 0.99, and what is left of the variance within the two sides of each.

    Infinite where a threshold divides nothing.
    """
    thresholds = torch.arange(100, dtype=torch.float64) / 100
    ordered = scores.double().cpu().sort().values
    below = torch.searchsorted(ordered, thresholds)
    above = len(ordered) - below
    centred = ordered - ordered.mean()  # else the squares cancel
    sums, squares = (torch.cat([values.new_zeros(1), values.cumsum(0)]) for values in (centred, centred**2))
    # Equal divisions look up equal sums, so that they tie to the bit.
    within = squares[-1] - sums[below] ** 2 / below - (sums[-1] - sums[below]) ** 2 / above
    return thresholds, within.masked_fill((below == 0) | (above == 0), torch.inf)


def _push(queue: Float[Tensor, "P W"], rows: Float[Tensor, "K W"], length: int) -> Float[Tensor, "Q W"]:
    """The queue with at most `length` rows more at its end, cut to its last `length` without holding the others."""
    kept = max(0, length - len(rows))
    return torch.cat([queue[max(0, len(queue) - kept) :], rows])
