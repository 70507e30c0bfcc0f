"""Which labels decide: shares of the softmax over ID classes and negatives, image by image and over a run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.types import TextBank, generator

CHUNK_ELEMENTS = 2**24  # logits held at once: 64 MiB


class LabelShares(NamedTuple):
    """The labels that an image's softmax over all C + M labels falls to, largest first.

    Attributes:
        classes: [B, K], ID classes.
        class_shares: [B, K], their shares.
        negatives: [B, K], negative labels.
        negative_shares: [B, K], their shares.
        id_share: [B], of all ID classes together.
        rest_share: [B], of all negatives together; one minus the above, with the digits of small shares.
    """

    classes: Int[Tensor, "B K"]
    class_shares: Float[Tensor, "B K"]
    negatives: Int[Tensor, "B L"]
    negative_shares: Float[Tensor, "B L"]
    id_share: Float[Tensor, " B"]
    rest_share: Float[Tensor, " B"]

    @property
    def negative_wins(self) -> Bool[Tensor, " B"]:
        """One negative label alone has more than the first ID class."""
        return self.negative_shares[:, 0] > self.class_shares[:, 0]


def label_shares(images: Float[Tensor, "B D"], bank: TextBank, temperature: float, count: int) -> LabelShares:
    """The first `count` ID classes and negatives of each image, in one softmax without groups.

    Source: NegLabel (Jiang et al., ICLR 2024), Eq. 6 and figures 4 and 5.
    """
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    num_classes = len(bank.id_labels)
    parts = []
    for chunk in images.split(max(1, CHUNK_ELEMENTS // len(labels))):
        shares = (chunk @ labels.T / temperature).softmax(dim=1)
        of_classes, of_negatives = shares[:, :num_classes], shares[:, num_classes:]
        class_shares, classes = of_classes.topk(min(count, num_classes), dim=1)
        negative_shares, negatives = of_negatives.topk(min(count, len(bank.negatives)), dim=1)
        parts.append(
            (classes, class_shares, negatives, negative_shares, of_classes.sum(dim=1), of_negatives.sum(dim=1))
        )
    return LabelShares(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def class_share(
    images: Float[Tensor, "B D"], classes: Int[Tensor, " B"], bank: TextBank, temperature: float
) -> Float[Tensor, " B"]:
    """The share of one ID class per image, in the softmax of `label_shares`."""
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    rows, parts = max(1, CHUNK_ELEMENTS // len(labels)), []
    for chunk, own in zip(images.split(rows), classes.split(rows), strict=True):
        shares = (chunk @ labels.T / temperature).softmax(dim=1)
        parts.append(shares.gather(1, own[:, None]).squeeze(1))
    return torch.cat(parts)


class FiringNegatives(NamedTuple):
    """How each of the M negatives behaves on a set of images.

    Attributes:
        wins: [M], share of the images where it stands above every ID class and every other negative.
        mean_share: [M], mean softmax share.
    """

    wins: Float[Tensor, " M"]
    mean_share: Float[Tensor, " M"]


def firing_negatives(images: Float[Tensor, "B D"], bank: TextBank, temperature: float) -> FiringNegatives:
    """On ID images a negative that wins does harm; on OOD images it does its work."""
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    wins, total = labels.new_zeros(len(labels)), labels.new_zeros(len(labels))
    for chunk in images.split(max(1, CHUNK_ELEMENTS // len(labels))):
        shares = (chunk @ labels.T / temperature).softmax(dim=1)
        wins += torch.bincount(shares.argmax(dim=1), minlength=len(labels))
        total += shares.sum(dim=0)
    of_negatives = slice(len(bank.id_labels), None)
    return FiringNegatives(wins[of_negatives] / len(images), total[of_negatives] / len(images))


class ErrorRates(NamedTuple):
    """Share of ID images taken for OOD at each threshold, by what outweighs the ID classes; the two add up.

    Attributes:
        max_ood: [T], one negative label alone has more than the first ID class.
        sum_ood: [T], only the negatives together do.
    """

    max_ood: Float[Tensor, " T"]
    sum_ood: Float[Tensor, " T"]


def error_rates(shares: LabelShares, thresholds: Float[Tensor, " T"]) -> ErrorRates:
    """ID images whose ID share lies below each threshold.

    Args:
        shares: of the ID images.
        thresholds: gamma, of the ID share.

    Source: InterNeg (CVPR 2026), Figure 2 and section 3.1.
    """
    rejected = shares.id_share[:, None] < thresholds
    one_wins = shares.negative_wins[:, None]
    return ErrorRates((rejected & one_wins).float().mean(dim=0), (rejected & ~one_wins).float().mean(dim=0))


class TheoryCurve(NamedTuple):
    """NegLabel's theory against a measurement, for growing numbers of negatives.

    Attributes:
        num_negatives: M.
        predicted: FPR at the wanted TPR by Eq. 7.
        measured: FPR at the first count of matches that keeps the wanted share of ID images.
        match_threshold: cosine from which an image matches a negative.
        id_match, ood_match: p1 and p2, share of matching pairs.
    """

    num_negatives: tuple[int, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]
    match_threshold: float
    id_match: float
    ood_match: float


def theory_curve(
    id_images: Float[Tensor, "N D"],
    ood_images: Float[Tensor, "K D"],
    bank: TextBank,
    sizes: Sequence[int],
    match_threshold: float | None,
    recall: float,
    seed: int,
) -> TheoryCurve:
    """The toy score that counts matching negatives: its FPR as theory has it, and as it is.

    Args:
        id_images, ood_images: embeddings.
        bank: its negatives are added in a random order.
        sizes: numbers of negatives, at most M.
        match_threshold: cosine; None: where 1% of the pairs of ID image and negative match.
        recall: lambda, share of ID images kept.
        seed: of the order.

    Source: NegLabel (Jiang et al., ICLR 2024), section 3.3, Eq. 7; its derivative, Eq. 8, says that the curve falls.
    """
    order = torch.randperm(len(bank.negatives), generator=generator(seed)).to(id_images.device)
    negatives = bank.negatives.embeddings[order]
    if match_threshold is None:
        sample = (id_images[:: max(1, len(id_images) // 200)] @ negatives.T).flatten()
        match_threshold = float(sample.sort().values[int(0.99 * (len(sample) - 1))])
    counts = [_matches(images, negatives, sizes, match_threshold).double() for images in (id_images, ood_images)]
    id_match, ood_match = (float(count[:, -1].mean()) / sizes[-1] for count in counts)
    kept = counts[0].sort(dim=0).values[math.ceil(recall * len(id_images)) - 1]
    measured = (counts[1] <= kept).double().mean(dim=0).tolist()
    predicted = tuple(predicted_fpr(id_match, ood_match, size, recall) for size in sizes)
    return TheoryCurve(tuple(sizes), predicted, tuple(measured), match_threshold, id_match, ood_match)


def predicted_fpr(id_match: float, ood_match: float, num_negatives: int, recall: float) -> float:
    """Eq. 7: the FPR at TPR lambda when matches are independent.

    Args:
        id_match: p1, chance that an ID image matches a negative.
        ood_match: p2, chance that an OOD image does.
        num_negatives: M.
        recall: lambda.
    """
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    id_spread, ood_spread = (math.sqrt(max(1e-300, p * (1 - p))) for p in (id_match, ood_match))
    quantile = float(normal.icdf(torch.tensor(recall, dtype=torch.float64)))
    z = (quantile * id_spread + math.sqrt(num_negatives) * (id_match - ood_match)) / ood_spread
    return float(normal.cdf(torch.tensor(z, dtype=torch.float64)))


def _matches(
    images: Float[Tensor, "N D"], negatives: Float[Tensor, "M D"], sizes: Sequence[int], threshold: float
) -> Int[Tensor, "N S"]:
    """How many of the first M negatives each image matches, for each M of `sizes`."""
    last = torch.tensor(sizes, device=images.device) - 1
    chunks = images.split(max(1, CHUNK_ELEMENTS // len(negatives)))
    return torch.cat([((chunk @ negatives.T) >= threshold).cumsum(dim=1)[:, last] for chunk in chunks])
