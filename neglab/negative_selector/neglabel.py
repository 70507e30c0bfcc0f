"""NegLabel's mining: the words that are farthest from the ID classes."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.negative_selector.base import (
    Fraction,
    NegativeSelector,
    check_any,
    check_size,
    lowest,
    lowest_per_part,
    quotas,
)
from neglab.on_device import rows_at_once
from neglab.ranges import Cosine, Count, Share
from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words

CHUNK_ELEMENTS = 2**22  # similarities held at once: 16 MiB


class NegLabelSelector(NegativeSelector):
    """Keeps the words with the lowest similarity to the ID classes, similarity being a high quantile over the classes.

    Args:
        fraction: share of the candidates kept, of nouns and adjectives each, or one for each of the two; None with
            `num_labels`.
        num_labels: keep this many over both parts of speech jointly (the paper's M); None with `fraction`.
        quantile: over the C cosine similarities of a word, linearly interpolated; 1 is the maximum.
        remove_id_names: nouns that are an ID class name to the letter are no candidates.
        duplicate_guard: a word whose largest similarity exceeds it counts as similarity 1, and so comes last; None:
            no guard.

    Raises:
        UserError: not exactly one of `fraction` and `num_labels`, more labels asked for than
            there are candidates, or nothing left to select.

    Shapes: a corpus [W, D] and ID labels [C, D] give M positions, nouns by rising similarity and then adjectives by
        rising similarity (`fraction`), or all by rising similarity (`num_labels`).

    Source: Jiang et al., "Negative Label Guided OOD Detection with Pretrained Vision-Language Models", ICLR 2024,
        Algorithm 1 (NegMining), with its percentile 0.05 of negative cosines; official code 3253db6, multi_modal.py.
        The guard: CSP's official code 3a7bdab (0.95), and NegRefine's, which mines with quantile 1.
    Differs: the paper takes the top M jointly, its code 15% of each part of speech (both are options). Ties keep the
        corpus's order here; the code's sort is not stable.
    """

    def __init__(
        self,
        fraction: Fraction | None,
        num_labels: Count | None,
        quantile: Share,
        remove_id_names: bool,
        duplicate_guard: Cosine | None,
    ) -> None:
        check_size(fraction, num_labels)
        self.fraction, self.num_labels, self.quantile = fraction, num_labels, quantile
        self.remove_id_names, self.duplicate_guard = remove_id_names, duplicate_guard

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        self._check_candidates(len(corpus))
        if self.fraction is None:
            return self.num_labels or 0
        most = sum(quotas(Counter(corpus.parts_of_speech), self.fraction).values())
        check_any(most, len(corpus))
        return most

    def _check_candidates(self, count: int) -> None:
        if self.num_labels is not None and self.num_labels > count:
            raise UserError(
                "negative_selector.num_labels must be at most the number of candidates; got "
                f"num_labels={self.num_labels} with {count} words. Lower it, or give a larger corpus."
            )

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        similarity = self.similarity(corpus, id_labels)
        candidate = self._candidates(corpus, id_labels)
        self._check_candidates(int(candidate.sum()))
        if self.fraction is None:
            chosen = lowest(similarity, candidate, self.num_labels or 0)
        else:
            chosen = lowest_per_part(similarity, candidate, corpus.parts_of_speech, self.fraction)
        check_any(len(chosen), len(corpus))
        return chosen

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        chunks = labels.embeddings.split(rows_at_once(labels.embeddings, len(id_labels), CHUNK_ELEMENTS))
        return torch.cat([self._guarded_quantile(chunk @ id_labels.embeddings.T) for chunk in chunks]).cpu()

    def _guarded_quantile(self, similarities: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
        quantile = _upper_quantile(similarities, self.quantile)
        if self.duplicate_guard is None:
            return quantile
        return quantile.masked_fill(similarities.amax(dim=1) > self.duplicate_guard, 1.0)

    def _candidates(self, corpus: LabelSet, id_labels: LabelSet) -> Bool[Tensor, " W"]:
        candidate = torch.ones(len(corpus), dtype=torch.bool)
        if self.remove_id_names:
            known = set(id_labels.names)
            named = zip(corpus.names, corpus.parts_of_speech, strict=True)
            candidate &= torch.tensor([name not in known or part != "noun" for name, part in named], dtype=torch.bool)
        return candidate


def _upper_quantile(values: Float[Tensor, "N C"], quantile: float) -> Float[Tensor, " N"]:
    """`torch.quantile(values, quantile, dim=1)` to rounding, by selecting the few largest instead of sorting all."""
    count = values.shape[1]
    position = quantile * (count - 1)
    below = math.floor(position)
    largest = values.topk(count - below, dim=1, sorted=False).values
    lowest = largest.topk(min(2, count - below), dim=1, largest=False).values
    return torch.lerp(lowest[:, 0], lowest[:, -1], position - below)
