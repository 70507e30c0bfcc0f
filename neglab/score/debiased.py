"""Debiased Negative Mining's score: NegLabel's, with negatives corrected for the ID classes' own share in them."""

import math

from jaxtyping import Float
from torch import Tensor

from neglab.ranges import Count, Positive, PositiveShare, Seed
from neglab.score.base import Product, ProductScore, matrix_product
from neglab.score.neglabel import GroupedBank, NegLabelScore
from neglab.types import Outline, TextBank, UserError


class DebiasedScore(ProductScore[tuple[GroupedBank, int]]):
    """Mean over groups and ID classes of exp(s_i / tau) / Z_g. Higher is more ID.

    With P the ID classes' sum of exponentials, N_g the group's, C classes and Q labels in a group: Z_g = P + Q (N_g / Q
    - (1 - pi) P / C) / pi, where pi is the share of true negatives that a group is thought to hold. So the score is
    mean_g 1 / (a + N_g / (pi P)) / C with a = 1 - Q (1 - pi) / (pi C): with one group it ranks as NegLabel's does, and
    the correction re-weights the mean over groups alone.

    Args:
        num_groups: G; the remainder of M / G is dropped from the end of the bank, before the permutation.
        temperature: tau, divides the cosines.
        group_seed: of the permutation that deals the negatives out to groups.
        purity: pi; 1: nothing is corrected, and the score is NegLabel's over C.

    Raises:
        UserError: fewer negatives than groups, or a is negative: there Z_g passes zero and the scores change sign.

    Shapes: images [B, D] and a bank of C + M labels give [B], in (0, 1 / (a C)]; without an upper bound at a = 0;
        float64.

    Source: Debiased Negative Mining, KDD 2026 (arXiv 2605.23797); official code at 7696674, main_online.py.
    Differs: one permutation for all OOD sets; the official generator goes on from set to set. The official code lets a
        be negative, which gives scores of either sign and any size.
    """

    def __init__(self, num_groups: Count, temperature: Positive, group_seed: Seed, purity: PositiveShare) -> None:
        self.neglabel = NegLabelScore(num_groups, temperature, group_seed)
        self.num_groups, self.purity = num_groups, purity

    def check(self, outline: Outline) -> None:
        self.neglabel.check(outline)
        num_classes, group_size = len(outline.id_names), outline.num_negatives // self.num_groups
        largest = int(num_classes * self.purity / (1 - self.purity)) if self.purity < 1 else group_size
        if group_size > largest:
            enough = f"score.num_groups={outline.num_negatives // (largest + 1) + 1} or " if largest else ""
            purity = math.ceil(1000 * group_size / (group_size + num_classes)) / 1000
            raise UserError(
                "A group of negatives must hold at most purity / (1 - purity) times as many labels as there are ID "
                f"classes; got {group_size} with {num_classes} classes and purity={self.purity}. Set {enough}"
                f"score.purity={purity} at least, or take score=neglabel."
            )

    def prepare(self, bank: TextBank) -> tuple[GroupedBank, int]:
        self.check(Outline.of(bank))
        return self.neglabel.prepare(bank), len(bank.id_labels)

    def score(
        self,
        images: Float[Tensor, "B D"],
        prepared: tuple[GroupedBank, int],
        product: Product = matrix_product,
    ) -> Float[Tensor, " B"]:
        grouped, num_classes = prepared
        group_size = len(grouped.negative_weights) // self.num_groups
        # At the edge rounding could leave less than nothing.
        own = max(0.0, 1 - group_size * (1 - self.purity) / (self.purity * num_classes))
        margins = self.neglabel.margins(images, grouped, product)
        return (1 / (own + (-margins).exp() / self.purity)).mean(dim=1) / num_classes
