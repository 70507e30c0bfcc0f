"""AdaNeg's score: NegLabel's, with labels that move towards the confident test images seen so far."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from neglab.on_device import rows_at_once
from neglab.ranges import Count, CountFromTwo, NotNegative, Positive, Seed, Share
from neglab.score.base import Judgement, Score
from neglab.score.neglabel import NegLabelScore, grouped_share
from neglab.types import Outline, TextBank, TextEncoder, UserError, generator

CHUNK_ELEMENTS = 2**22  # logits held at once beside the batch's own: 16 MiB; more only causes page faults
WINDOW = 10_000  # estimates that the adaptive gap looks back on
EPSILON = 1e-8  # inside the entropy's logarithm

PROXIES = ("task", "sample")


@dataclass(frozen=True)
class Memory:
    """The text bank and the confident images remembered from the stream. Only labels with an image take up memory.

    Attributes:
        texts: [N, D], the ID classes, then all negatives.
        num_id: C, how many of them are ID classes.
        members: [K], rows of `texts`: the negatives of the first group, of the second, and so on.
        labels: [R], the rows of `texts` that have an image, in the order of their first one.
        slots: [R, L, D], the label's text, then its images; zeros where none is stored yet.
        summary: what the score makes of each label's slots: [R, D] proxies ("task"), or [R, L, L] products ("sample").
        entropies: [R, L - 1], of the images' softmax; 0 where none is stored yet.
        counts: [R], images stored.
        estimates: what the adaptive gap counts, oldest first, on the CPU: 1 for ID, 0 for OOD.
    """

    texts: Float[Tensor, "N D"]
    num_id: int
    members: Int[Tensor, " K"]
    labels: Int[Tensor, " R"]
    slots: Float[Tensor, "R L D"]
    summary: Float[Tensor, "R *_"]
    entropies: Float[Tensor, "R S"]
    counts: Int[Tensor, " R"]
    estimates: Int[Tensor, " P"]


class AdaNegScore(Score[Memory]):
    """NegLabel's score on adaptive proxies plus `static_weight` times NegLabel's on the texts. Higher is more ID.

    An image whose static score s is above gamma + gap (1 - gamma) is remembered with its nearest ID class; one below
    gamma (1 - gap) with its nearest negative. A label remembers L - 1 images: the first ones, then one of lower
    entropy takes the place of the highest. The batch is remembered before it is scored, so the batch size is a knob.

    The proxy of a label is the normalised sum of its text x_0 and its images x_j ("task"), or, for each image h, the
    normalised sum over j of exp(-beta (1 - cos(h, x_j))) x_j ("sample"), computed from cosines alone.

    The predicted class is the ID class with the largest p(texts) + `static_weight` p(proxies), p being the softmax over
    all labels; with the adaptive gap that with the largest p(texts) + p(proxies), softmaxes over the ID classes alone.

    Args:
        num_groups: of NegLabel's score, static and adaptive.
        temperature: tau, divides the cosine similarities.
        group_seed: of NegLabel's permutation.
        proxies: "task" or "sample".
        adaptive_gap: the rarer side has a wider gap. With r the ID share among the last 10,000 confident images (100
            ID and 100 OOD before the first): r > 1/2 remembers OOD below gamma (1 - r), r < 1/2 remembers ID above
            gamma + (1 - r) (1 - gamma).
        threshold: gamma, in units of the static score.
        gap: g, a share of the way from gamma to 1 and to 0.
        memory_length: L, the text and L - 1 images.
        beta: sharpness of the sample-adaptive weights, no unit.
        static_weight: lambda, of the static score.

    Raises:
        UserError: fewer negatives than groups.

    Shapes: images [B, D] give [B], in [0, 1 + static_weight]; float64. The state holds R L D numbers for R labels with
        images: 200 MB where 10,000 labels of width 512 have ten slots each. A step holds the batch's B (C + M) logits.

    Source: AdaNeg (Zhang and Zhang, NeurIPS 2024); OpenOOD-VLM at 804f331, ttaprompt_postprocessor.py
        (`ttapromptnoadagap`, and `ttaprompt` with the adaptive gap, whose lambda is 1; the predicted classes stand in
        lines 903 and 604).
    Differs: float32 and float64 sums, the official code works in fp16. The official memory of length L holds L + 1
        slots of which the last is never written; it only rescales and is left out. Images are remembered rank by rank
        within their label, all labels at once, instead of one by one: the same memory.
    """

    order_dependent: ClassVar[bool] = True
    needs_encoder: ClassVar[bool] = False

    def __init__(
        self,
        num_groups: Count,
        temperature: Positive,
        group_seed: Seed,
        proxies: str,
        adaptive_gap: bool,
        threshold: Share,
        gap: Share,
        memory_length: CountFromTwo,
        beta: NotNegative,
        static_weight: NotNegative,
    ) -> None:
        if proxies not in PROXIES:
            raise UserError(f"score.proxies must be {' or '.join(PROXIES)}; got {proxies}.")
        self.neglabel = NegLabelScore(num_groups, temperature, group_seed)
        self.proxies, self.adaptive_gap = proxies, adaptive_gap
        self.threshold, self.gap = threshold, gap
        self.memory_length, self.beta, self.static_weight = memory_length, beta, static_weight

    @property
    def neutral(self) -> float:
        return 0.5 * (1 + self.static_weight)

    def check(self, outline: Outline) -> None:
        self.neglabel.check(outline)

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> Memory:
        num_grouped = len(self.neglabel.prepare(bank).negative_weights)
        texts = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
        # NegLabel's permutation again: its bank holds the permuted negatives but not their places.
        order = torch.randperm(num_grouped, generator=generator(self.neglabel.group_seed))
        no_label = torch.empty(0, dtype=torch.long, device=texts.device)
        no_slots = texts.new_empty(0, self.memory_length, texts.shape[1])
        return Memory(
            texts,
            len(bank.id_labels),
            order.to(texts.device) + len(bank.id_labels),
            no_label,
            no_slots,
            self._summary(no_slots),
            texts.new_empty(0, self.memory_length - 1),
            no_label,
            torch.tensor([1, 0], dtype=torch.int8).repeat(100),
        )

    def step(self, state: Memory, images: Float[Tensor, "B D"]) -> tuple[Judgement, Memory]:
        logits = (images / self.neglabel.temperature) @ state.texts.T
        static = self._grouped_share(logits, state)
        is_id, is_ood, state = self._confident(state, static)
        confident = (is_id | is_ood).nonzero().flatten()
        if len(confident):
            labels, entropies = _nearest(state, logits[confident], is_id[confident])
            state = _remember(state, images[confident], labels, entropies, self._summary)
        by_texts = self._class_shares(logits, state.num_id)
        self._adapt(logits, state, images)
        weight = 1.0 if self.adaptive_gap else self.static_weight
        predicted = (by_texts + weight * self._class_shares(logits, state.num_id)).argmax(dim=1)
        return Judgement(self._grouped_share(logits, state) + self.static_weight * static, predicted), state

    def _class_shares(self, logits: Float[Tensor, "B N"], num_id: int) -> Float[Tensor, "B C"]:
        """The ID classes' softmax shares that predict the class."""
        of_classes = logits[:, :num_id].double()
        rivals = logits[:, :num_id] if self.adaptive_gap else logits
        parts = rivals.split(rows_at_once(logits, logits.shape[1], CHUNK_ELEMENTS))
        mass = torch.cat([part.logsumexp(dim=1, keepdim=True) for part in parts])
        return (of_classes - mass.double()).exp()

    def _grouped_share(self, logits: Float[Tensor, "B N"], memory: Memory) -> Float[Tensor, " B"]:
        """NegLabel's score of these logits."""
        scores = []
        for part in logits.split(rows_at_once(logits, logits.shape[1], CHUNK_ELEMENTS)):
            # Brackets would gather columns four times slower on a CPU.
            groups = part.index_select(1, memory.members).unflatten(1, (self.neglabel.num_groups, -1))
            scores.append(grouped_share(part[:, : memory.num_id], groups))
        return torch.cat(scores)

    def _confident(
        self, memory: Memory, static: Float[Tensor, " B"]
    ) -> tuple[Bool[Tensor, " B"], Bool[Tensor, " B"], Memory]:
        """Which images are remembered as ID, which as OOD, and the memory with their estimates."""
        upper, lower = self.threshold + self.gap * (1 - self.threshold), self.threshold - self.gap * self.threshold
        is_id, is_ood = static > upper, static < lower
        if not self.adaptive_gap:
            return is_id, is_ood, memory
        # The batch's ID estimates first, then its OOD ones, whatever their places in the batch.
        num_id, num_ood = torch.stack([is_id.sum(), is_ood.sum()]).tolist()
        new = torch.tensor([1] * num_id + [0] * num_ood, dtype=torch.int8)
        estimates = torch.cat([memory.estimates, new])[-WINDOW:].clone()
        share = estimates.double().mean().item()
        if share > 0.5:
            is_ood = static < self.threshold - share * self.threshold
        elif share < 0.5:
            is_id = static > self.threshold + (1 - share) * (1 - self.threshold)
        return is_id, is_ood, replace(memory, estimates=estimates)

    def _summary(self, slots: Float[Tensor, "K L D"]) -> Float[Tensor, "K *_"]:
        """The proxies, or the inner products of which the lengths of an image's own proxies are made."""
        return normalize(slots.sum(dim=1), dim=1) if self.proxies == "task" else slots @ slots.mT

    def _adapt(self, logits: Float[Tensor, "B N"], memory: Memory, images: Float[Tensor, "B D"]) -> None:
        """Replace the texts' logits by the proxies'; labels without images keep theirs."""
        slots, temperature = memory.slots, self.neglabel.temperature
        if self.proxies == "task":
            logits.index_copy_(1, memory.labels, images @ memory.summary.T / temperature)
            return
        rows = rows_at_once(slots, slots.shape[0] * slots.shape[1], CHUNK_ELEMENTS)
        for part, own in zip(images.split(rows), logits.split(rows), strict=True):
            own.index_copy_(1, memory.labels, _sample_adaptive(part, slots, memory.summary, self.beta) / temperature)


def _sample_adaptive(
    images: Float[Tensor, "B D"], slots: Float[Tensor, "R L D"], products: Float[Tensor, "R L L"], beta: float
) -> Float[Tensor, "B R"]:
    """Cosines between images and their own proxies: with w the weights and P the slots' inner products, the proxy's
    length is sqrt(w P w), so no proxy is ever built."""
    cosines = (images @ slots.flatten(0, 1).T).unflatten(1, slots.shape[:2])
    weights = torch.exp(-beta * (1 - cosines))
    by_label = weights.transpose(0, 1)
    lengths = ((by_label @ products) * by_label).sum(dim=2).sqrt().T
    return (weights * cosines).sum(dim=2) / lengths


def _nearest(
    memory: Memory, logits: Float[Tensor, "K N"], is_id: Bool[Tensor, " K"]
) -> tuple[Int[Tensor, " K"], Float[Tensor, " K"]]:
    """The nearest label on the image's side, ID class or negative, and the entropy of that side's softmax."""
    labels, entropies, rows = [], [], rows_at_once(logits, logits.shape[1], CHUNK_ELEMENTS)
    for part, part_is_id in zip(logits.split(rows), is_id.split(rows), strict=True):
        sides = part.split([memory.num_id, part.shape[1] - memory.num_id], dim=1)
        (id_label, id_entropy), (negative, ood_entropy) = ((side.argmax(dim=1), _entropy(side)) for side in sides)
        labels.append(torch.where(part_is_id, id_label, memory.num_id + negative))
        entropies.append(torch.where(part_is_id, id_entropy, ood_entropy))
    return torch.cat(labels), torch.cat(entropies)


def _entropy(logits: Float[Tensor, "K N"]) -> Float[Tensor, " K"]:
    shares = logits.softmax(dim=1)
    # A share that rounds above 1 would fall below the text's entropy, 0.
    return -(shares * (shares + EPSILON).log()).sum(dim=1).clamp(max=0)


def _remember(
    memory: Memory,
    images: Float[Tensor, "K D"],
    labels: Int[Tensor, " K"],
    entropies: Float[Tensor, " K"],
    summarise: Callable[[Tensor], Tensor],
) -> Memory:
    """The memory after these images, in their order; the one before stays as it was.

    A free slot takes the label's next image. Once all are taken, the image replaces the one of highest entropy (the
    last of several) if its own is lower. Labels do not touch each other's slots, so the first image of each label
    goes at once, then the second of each: as many rounds as the fullest label has candidates.
    """
    new = labels.unique()
    new = new[torch.isin(new, memory.labels, invert=True)]
    known = torch.cat([memory.labels, new])
    row_of = torch.zeros(len(memory.texts), dtype=torch.long, device=labels.device)
    row_of[known] = torch.arange(len(known), device=labels.device)
    row = row_of[labels]
    counts = torch.cat([memory.counts, new.new_zeros(len(new))])
    stored = torch.cat([memory.entropies, memory.entropies.new_zeros(len(new), memory.entropies.shape[1])])
    source = torch.full_like(stored, -1, dtype=torch.long)  # the image that comes to a slot; -1: the slot stays
    slot = counts[row] + _rank(row)
    early = (slot < stored.shape[1]).nonzero().flatten()
    source[row[early], slot[early]] = early
    stored[row[early], slot[early]] = entropies[early]
    # The highest entropy only falls, so an image that is not below it now never will be.
    late = ((slot >= stored.shape[1]) & (entropies < stored.amax(dim=1)[row])).nonzero().flatten()
    turns = _rank(row[late])
    for turn in late[turns.argsort(stable=True)].split(turns.bincount().tolist()):
        at = row[turn]
        worst = stored.shape[1] - 1 - stored[at].flip(1).argmax(dim=1)
        better = entropies[turn] < stored[at, worst]
        source[at, worst] = torch.where(better, turn, source[at, worst])
        stored[at, worst] = torch.where(better, entropies[turn], stored[at, worst])
    slots = torch.cat([memory.slots, pad(memory.texts[new][:, None], (0, 0, 0, stored.shape[1]))])
    at, changed = (source >= 0).nonzero(as_tuple=True)
    slots[at, changed + 1] = images[source[at, changed]]
    counts = (counts + row.bincount(minlength=len(known))).clamp(max=stored.shape[1])
    summary = torch.cat([memory.summary, memory.summary.new_empty(len(new), *memory.summary.shape[1:])])
    summary.index_copy_(0, at, summarise(slots[at]))  # of the others they are as they were
    return replace(memory, labels=known, slots=slots, summary=summary, entropies=stored, counts=counts)


def _rank(rows: Int[Tensor, " K"]) -> Int[Tensor, " K"]:
    """How many earlier elements are equal to each."""
    ordered, order = rows.sort(stable=True)
    rank = torch.empty_like(rows)
    rank[order] = torch.arange(len(rows), device=rows.device) - torch.searchsorted(ordered, ordered)
    return rank
