"""Whether a model reads "not": how often an image prefers a negated text to the plain one."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.types import generator

ROWS = 1024  # images at once: their cosines with every class


@dataclass(frozen=True)
class Negation:
    """Shares of a set's images, or of its pairs of image and class; nan where there are none.

    Attributes:
        own: images that prefer "not own class" to "own class"; right is 0.
        others: (image, other class) pairs that prefer "not class" to "class"; right is 1.
        own_over_other: (image, other class) pairs for which "not own class" matches better than "not other class";
            right is 0 (Figures 3 and 8).
        turned: images for which "not" before the worse of two wrong classes makes it the better; right is 1, but it
            says nothing of a model that prefers every "not" (Figures 4 and 8).
        counts: [C], images that prefer "not class" to "class", of every image of the set (Figures 9 to 12).
    """

    own: float
    others: float
    own_over_other: float
    turned: float
    counts: Int[Tensor, " C"]


def negation(
    images: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    plain: Float[Tensor, "C D"],
    negated: Float[Tensor, "C D"],
    seed: int,
) -> Negation:
    """Compare every image with every class's plain and negated text; equal cosines count as not preferred.

    Args:
        images: unit norm.
        labels: the class of each image, or -1.
        plain: embeddings of the classes' plain texts.
        negated: of their negations.
        seed: of the two wrong classes drawn for each image.

    Source: LSN (Nie et al., ICLR 2024), Sec. 3.1 and Appendix K.
    """
    num_classes = len(plain)
    first, second = _two_wrong_classes(labels, num_classes, seed)
    own, others, mixed, turned = [], [], [], []
    counts = torch.zeros(num_classes, dtype=torch.long)
    for rows in torch.arange(len(images)).split(ROWS):
        on_plain, on_negated = images[rows] @ plain.T, images[rows] @ negated.T
        prefers = on_negated > on_plain
        counts += prefers.sum(dim=0)
        is_own = torch.nn.functional.one_hot(labels[rows] + 1, num_classes + 1)[:, 1:].bool()
        known = labels[rows] >= 0
        own.append(prefers[is_own])
        others.append(prefers[~is_own])
        beaten = on_negated < on_negated.gather(1, labels[rows].clamp(min=0)[:, None])
        mixed.append(beaten[known][~is_own[known]])
        turned.append(_turned(on_plain, on_negated, first[rows], second[rows]))
    return Negation(_share(own), _share(others), _share(mixed), _share(turned), counts)


def _two_wrong_classes(labels: Tensor, num_classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two different classes per image, neither its own; of an image of no class one at random is left out."""
    draw = generator(seed)
    base = torch.where(labels >= 0, labels, torch.randint(num_classes, labels.shape, generator=draw))
    first = torch.randint(1, num_classes, labels.shape, generator=draw)
    second = torch.randint(1, num_classes - 1, labels.shape, generator=draw)
    second += second >= first
    return (base + first) % num_classes, (base + second) % num_classes


def _turned(
    on_plain: Float[Tensor, "B C"],
    on_negated: Float[Tensor, "B C"],
    first: Int[Tensor, " B"],
    second: Int[Tensor, " B"],
) -> Bool[Tensor, " B"]:
    rows = torch.arange(len(on_plain))
    swap = on_plain[rows, first] < on_plain[rows, second]
    better, worse = torch.where(swap, second, first), torch.where(swap, first, second)
    return on_negated[rows, worse] > on_plain[rows, better]


def _share(parts: list[Tensor]) -> float:
    joined = torch.cat(parts)
    return float(joined.double().mean()) if len(joined) else float("nan")
