"""NegLabel's score: the share of softmax that the ID classes win against groups of negative labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neglab.on_device import rows_at_once
from neglab.ranges import Count, Positive, Seed
from neglab.score.base import ROW_BLOCK, Product, ProductScore, matrix_product
from neglab.types import Outline, TextBank, UserError, generator

CHUNK_ELEMENTS = 2**22  # logits held at once: 16 MiB, and as much inside logsumexp; more only causes page faults


@dataclass(frozen=True)
class GroupedBank:
    """Logit weights of the ID classes [C, D] and, after the permutation, of the negatives [G * M/G, D]."""

    id_weights: Float[Tensor, "C D"]
    negative_weights: Float[Tensor, "K D"]


class NegLabelScore(ProductScore[GroupedBank]):
    """Mean over groups of the ID classes' softmax share within ID classes and the group. Higher is more ID.

    With s the similarities over the temperature, the share in group g is
    sigmoid(logsumexp(s_id) - logsumexp(s_g)): one matrix product and one reduction, no loop over groups.

    Args:
        num_groups: G; the remainder of M / G is dropped from the end of the bank, before the permutation. 1: no groups.
        temperature: tau, divides the cosine similarities.
        group_seed: of the permutation that deals the negatives out to groups.

    Raises:
        UserError: fewer negatives than groups.

    Shapes: images [B, D] and a bank of C + M labels give [B], in [0, 1]; float64, since float32 ties near 1.

    Source: Jiang et al., ICLR 2024, Eq. 6 and section 3.3 (grouping); official code 3253db6, models/ood/clip_ood.py.
    Differs: the permutation comes from a CPU generator, the official one from CUDA's. One group is the paper's
        softmax; the released code then returns a raw sum of logits. Too few negatives for the groups are an error;
        the released code scores every image 1. Embeddings are normalised in float32; the released code normalises
        images and negatives, as CLIP's float16 towers leave them, in float16, and sums in float32.
    """

    def __init__(self, num_groups: Count, temperature: Positive, group_seed: Seed) -> None:
        self.num_groups, self.temperature, self.group_seed = num_groups, temperature, group_seed

    @property
    def neutral(self) -> float:
        return 0.5

    def check(self, outline: Outline) -> None:
        check_groups(self.num_groups, outline)

    def prepare(self, bank: TextBank) -> GroupedBank:
        self.check(Outline.of(bank))
        return self.bank_of(bank.id_labels.embeddings, bank.negatives.embeddings)

    def bank_of(self, id_labels: Float[Tensor, "C D"], negatives: Float[Tensor, "M D"]) -> GroupedBank:
        """What the score needs of these embeddings."""
        kept = len(negatives) - len(negatives) % self.num_groups
        order = torch.randperm(kept, generator=generator(self.group_seed)).to(negatives.device)
        return GroupedBank(id_labels / self.temperature, negatives[:kept][order] / self.temperature)

    def score(
        self, images: Float[Tensor, "B D"], prepared: GroupedBank, product: Product = matrix_product
    ) -> Float[Tensor, " B"]:
        return torch.sigmoid(self.margins(images, prepared, product)).mean(dim=1)

    def _score_chunk(self, images: Float[Tensor, "B D"], prepared: GroupedBank) -> Float[Tensor, " B"]:
        return torch.sigmoid(self._margins_of_chunk(images, prepared)).mean(dim=1)

    def margins(
        self, images: Float[Tensor, "B D"], bank: GroupedBank, product: Product = matrix_product
    ) -> Float[Tensor, "B G"]:
        """By how much the ID classes' mass exceeds each group's, as logarithms; float64."""
        labels = len(bank.id_weights) + len(bank.negative_weights)
        rows = rows_at_once(images, labels, CHUNK_ELEMENTS, ROW_BLOCK)
        parts = images.split(rows)
        return torch.cat([self._margins_of_chunk(part, bank, i * rows, product) for i, part in enumerate(parts)])

    def _margins_of_chunk(
        self, images: Float[Tensor, "B D"], bank: GroupedBank, first: int = 0, product: Product = matrix_product
    ) -> Float[Tensor, "B G"]:
        groups = product(images, bank.negative_weights, first).unflatten(1, (self.num_groups, -1))
        return group_margins(product(images, bank.id_weights, first), groups)


def group_margins(id_logits: Float[Tensor, "B C"], groups: Float[Tensor, "B G K"]) -> Float[Tensor, "B G"]:
    """logsumexp of the ID logits less that of each group's; float64."""
    return id_logits.logsumexp(dim=1, keepdim=True).double() - groups.logsumexp(dim=2).double()


def grouped_share(id_logits: Float[Tensor, "B C"], groups: Float[Tensor, "B G K"]) -> Float[Tensor, " B"]:
    """The ID classes' share of the softmax within ID classes and each group, mean over groups; float64."""
    return torch.sigmoid(group_margins(id_logits, groups)).mean(dim=1)


def check_groups(num_groups: int, outline: Outline) -> None:
    """Raise a UserError where there are fewer negatives than groups to deal them out to."""
    if outline.num_negatives < num_groups:
        raise UserError(
            f"num_groups must be at most the number of negatives; got num_groups={num_groups} with "
            f"{outline.num_negatives} negatives. Lower score.num_groups or select more (negative_selector.fraction or "
            "num_labels)."
        )
