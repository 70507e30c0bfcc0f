"""AdaNeg's stream: one product per batch and memories updated all at once, against the official code's loops."""

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from benchmarks.labels import DIM, random_labels
from neglab.score.adaneg import AdaNegScore
from neglab.types import TextBank

BATCH, NUM_GROUPS, TEMPERATURE = 256, 5, 0.01
THRESHOLD, GAP, LENGTH, BETA, STATIC_WEIGHT = 0.5, 0.5, 10, 5.0, 0.1
LABELS_AT_ONCE = 1000


def grouped(logits: torch.Tensor, num_classes: int) -> torch.Tensor:
    """NegLabel's score of a batch, a softmax per group; the same permutation is drawn for every batch."""
    id_logits, negatives = logits[:, :num_classes], logits[:, num_classes:]
    negatives = negatives[:, : negatives.shape[1] // NUM_GROUPS * NUM_GROUPS]
    order = torch.randperm(negatives.shape[1], generator=torch.Generator().manual_seed(0))
    groups = negatives.index_select(1, order).chunk(NUM_GROUPS, dim=1)
    shares = [torch.cat([id_logits, group], dim=1).softmax(dim=1)[:, :num_classes].sum(dim=1) for group in groups]
    return torch.stack(shares).mean(dim=0)


@dataclass
class Loop:
    """The plain way: images are remembered one by one, and each label has a proxy per image ("sample") or batch."""

    texts: torch.Tensor
    num_classes: int
    proxies: str

    def __post_init__(self) -> None:
        # The official memory has a slot more, which stays empty.
        self.memory = self.texts.new_zeros(len(self.texts), LENGTH + 1, DIM)
        self.memory[:, 0] = self.texts
        self.entropies = self.texts.new_zeros(len(self.texts), LENGTH + 1)
        self.next = [1] * len(self.texts)

    def step(self, images: torch.Tensor) -> torch.Tensor:
        logits = images @ self.texts.T / TEMPERATURE
        static = grouped(logits, self.num_classes)
        for image, row, score in zip(images, logits, static, strict=True):
            if score > THRESHOLD + GAP * (1 - THRESHOLD):
                self.remember(image, row[: self.num_classes], 0)
        for image, row, score in zip(images, logits, static, strict=True):
            if score < THRESHOLD - GAP * THRESHOLD:
                self.remember(image, row[self.num_classes :], self.num_classes)
        adapted = torch.cat([self.cosines(images, slots) for slots in self.memory.split(LABELS_AT_ONCE)], dim=1)
        return grouped(adapted / TEMPERATURE, self.num_classes) + STATIC_WEIGHT * static

    def remember(self, image: torch.Tensor, logits: torch.Tensor, first: int) -> None:
        shares = logits.softmax(dim=0)
        label, entropy = first + int(shares.argmax()), -(shares * (shares + 1e-8).log()).sum()
        slot = self.next[label]
        if slot == LENGTH:
            if not (entropy < self.entropies[label]).any():
                return
            slot = int(self.entropies[label].argmax())
        else:
            self.next[label] += 1
        self.memory[label, slot], self.entropies[label, slot] = image, entropy

    def cosines(self, images: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        if self.proxies == "task":
            return images @ normalize(slots.mean(dim=1), dim=1).T
        to_slots = (images @ slots.flatten(0, 1).T).unflatten(1, slots.shape[:2])
        weights = torch.exp(-BETA * (1 - to_slots))
        proxies = normalize(torch.einsum("bnl,nld->bnd", weights, slots), dim=2)
        return torch.einsum("bd,bnd->bn", images, proxies)


def replay(score: AdaNegScore, bank: TextBank, images: torch.Tensor) -> torch.Tensor:
    state, scores = score.init(bank, None), []
    for batch in images.split(BATCH):
        (batch_scores, _), state = score.step(state, batch)
        scores.append(batch_scores)
    return torch.cat(scores)


def stream(bank: TextBank, count: int) -> torch.Tensor:
    """Images around random labels, half of them around ID classes, in random order."""
    sides = [
        labels.embeddings[torch.randint(len(labels), (count // 2,))] for labels in (bank.id_labels, bank.negatives)
    ]
    centres = torch.cat(sides)[torch.randperm(count // 2 * 2)]
    return normalize(centres + 1.5 * normalize(torch.randn(centres.shape), dim=1), dim=1)


def measure(
    num_images: int = 20_000, num_classes: int = 1000, num_negatives: int = 10_000, num_plain: int = BATCH
) -> Figure:
    """The plain way takes as long for every batch, so it runs on the first; ours slows down as it remembers more.

    Args:
        num_images: of the stream.
        num_classes: C.
        num_negatives: M.
        num_plain: images that the plain way scores, whole batches of them.
    """
    torch.manual_seed(0)
    bank = TextBank(random_labels(num_classes), random_labels(num_negatives), 100.0)
    images, texts = stream(bank, num_images), torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    knobs = (False, THRESHOLD, GAP, LENGTH, BETA, STATIC_WEIGHT)
    found: dict[str, torch.Tensor] = {}
    times: dict[str, float] = {}
    for proxies in ("sample", "task"):
        score, loop = AdaNegScore(NUM_GROUPS, TEMPERATURE, 0, proxies, *knobs), Loop(texts, num_classes, proxies)

        def ours(score: AdaNegScore = score, name: str = f"{proxies}, ours") -> None:
            found[name] = replay(score, bank, images)

        def plain(loop: Loop = loop, name: str = f"{proxies}, plain") -> None:
            found[name] = torch.cat([loop.step(batch) for batch in images[:num_plain].split(BATCH)])

        times |= seconds({f"{proxies}, ours": ours, f"{proxies}, plain": plain}, repeats=1)
    ratios = {
        proxies: times[f"{proxies}, plain"] / num_plain / (times[f"{proxies}, ours"] / len(images))
        for proxies in ("sample", "task")
    }
    differences = [
        (found[f"{proxies}, ours"][:num_plain] - found[f"{proxies}, plain"]).abs().max() for proxies in ratios
    ]
    return Figure(
        what=f"AdaNeg stream of {num_images:,} x ({num_classes:,} + {num_negatives:,}), batches of {BATCH}",
        plain=f"image by image into the memory, [B, C + M, D] proxies; {num_plain} images, counted per image",
        ratios=(
            Ratio("plain way / ours, sample-adaptive, per image", ratios["sample"], 10),
            Ratio("plain way / ours, task-adaptive, per image", ratios["task"]),
        ),
        difference=float(max(differences)),
        tolerance=1e-4,
        details={"seconds": times},
    )


if __name__ == "__main__":
    report("adaneg_stream", measure)
