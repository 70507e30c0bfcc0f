"""Negative labels drawn at random: what mining has to beat."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from neglab.negative_selector.base import Fraction, NegativeSelector, check_size, quotas
from neglab.ranges import Count, Seed
from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words, generator


class RandomSelector(NegativeSelector):
    """Draws words uniformly, without replacement; the negatives come in the order of the draw.

    Args:
        fraction: share of nouns and of adjectives, or one for each of the two, each rounded down as NegLabel rounds,
            which gives the number of words drawn from both jointly; None with `num_labels`.
        num_labels: number of words drawn; None with `fraction`.
        seed: of this draw alone.

    Raises:
        UserError: not exactly one of `fraction` and `num_labels`, or more words asked for than the corpus has.

    Source: the random-label rows of NegLabel's ablation (ICLR 2024).
    """

    def __init__(self, fraction: Fraction | None, num_labels: Count | None, seed: Seed) -> None:
        check_size(fraction, num_labels)
        self.fraction, self.num_labels, self.seed = fraction, num_labels, seed

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        count = self.num_labels
        if self.fraction is not None:
            count = sum(quotas(Counter(corpus.parts_of_speech), self.fraction).values())
        if not count or not 1 <= count <= len(corpus):
            raise UserError(
                f"Between 1 and {len(corpus)} negative labels can be drawn from this corpus; got {count}. "
                "Mend negative_selector.fraction or negative_selector.num_labels."
            )
        return count

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        count = self.most(corpus.words, id_labels.names)
        return torch.randperm(len(corpus), generator=generator(self.seed))[:count]
