"""Debiased Negative Mining's selection: the words with the nearest neighbours among the words."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.negative_selector.base import Fraction, NegativeSelector, check_any, lowest_per_part, quotas
from neglab.on_device import rows_at_once
from neglab.parts import tensors_digest
from neglab.ranges import Count
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words

CHUNK_ELEMENTS = 2**24  # distances held at once: 64 MiB


class DensitySelector(NegativeSelector):
    """Keeps the words whose neighbourhood is densest. The ID classes play no part.

    With |a| the length of a word's embedding before it gets unit norm, two words lie |a_j| - 2 cos(j, k) + |a_k| apart,
    and a word's sparsity is the mean logarithm of its num_neighbours + 1 smallest distances, its own included.
    CLIP's lengths are 7 to 10, so that they decide more than the cosines do: short embeddings are kept.

    Args:
        fraction: share of the words kept, of nouns and adjectives each, or one for each of the two.
        num_neighbours: k.
        store: the sparsities are kept there, since W words take W^2 cosines.

    Raises:
        UserError: no more words than neighbours, nothing left to select, or an embedding no longer than 1: its
            distance to itself then has no logarithm.

    Shapes: a corpus [W, D] with its lengths gives M positions, nouns by rising sparsity and then adjectives.

    Source: Debiased Negative Mining, KDD 2026 (arXiv 2605.23797); official code at 7696674, eval_ood_detection.py.
    Differs: the distances of a chunk of words at a time; the official code holds all of them. Ties keep the corpus's
        order here; the code's sort is not stable.
    """

    needs_lengths: ClassVar[bool] = True

    def __init__(self, fraction: Fraction, num_neighbours: Count, store: str) -> None:
        self.fraction, self.num_neighbours = fraction, num_neighbours
        self.folder = Path(store).expanduser() / "sparsity"

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        if len(corpus) <= self.num_neighbours:
            raise UserError(
                "negative_selector.num_neighbours must be less than the number of words; got "
                f"{self.num_neighbours} with {len(corpus)} words. Lower it, or give a larger corpus."
            )
        most = sum(quotas(Counter(corpus.parts_of_speech), self.fraction).values())
        check_any(most, len(corpus))
        return most

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        self.most(corpus.words, id_labels.names)
        everything = torch.ones(len(corpus), dtype=torch.bool)
        return lowest_per_part(self.sparsity(corpus), everything, corpus.parts_of_speech, self.fraction)

    def sparsity(self, corpus: LabelSet) -> Float[Tensor, " W"]:
        """Mean logarithm of each word's smallest distances, from the store or computed once."""
        if corpus.lengths is None:
            raise RuntimeError("a density needs the lengths of the corpus's embeddings")
        if not corpus.lengths.min() > 1:
            raise UserError(
                "negative_selector=density needs a text tower whose embeddings are longer than 1 before they get unit "
                f"norm, as CLIP's are; got {corpus.lengths.min().item():.3f} for "
                f"{corpus.names[int(corpus.lengths.argmin())]!r}. Choose another backbone or negative_selector."
            )
        content = tensors_digest({"embeddings": corpus.embeddings, "lengths": corpus.lengths})
        stored, positions = (
            StoredRows(self.folder / f"{content}-{self.num_neighbours}", 1),
            KeyedTexts(list(map(str, range(len(corpus))))),
        )
        if len(stored.lacking(positions)):
            stored.add(positions, _sparsity(corpus.embeddings, corpus.lengths, self.num_neighbours + 1).cpu()[:, None])
        return stored.rows(positions).squeeze(1)


def _sparsity(embeddings: Float[Tensor, "W D"], lengths: Float[Tensor, " W"], count: int) -> Float[Tensor, " W"]:
    rows = rows_at_once(embeddings, len(embeddings), CHUNK_ELEMENTS)
    result = []
    for own, own_lengths in zip(embeddings.split(rows), lengths.split(rows), strict=True):
        without_own = torch.addmm(lengths, own, embeddings.T, alpha=-2)
        nearest = without_own.topk(count, dim=1, largest=False, sorted=False).values
        result.append((nearest + own_lengths[:, None]).log().mean(dim=1))
    return torch.cat(result)
