"""The contract of a negative selector: which words of the corpus become negative labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.ranges import PositiveShare
from neglab.types import LabelledEmbeddings, LabelSet, PartOfSpeech, UserError, Words

# A share of nouns and of adjectives each, or one for each: {noun: 0.15, adjective: 0.1}.
Fraction = PositiveShare | Mapping[PartOfSpeech, PositiveShare]


class NegativeSelector(ABC):
    """Selects negative labels.

    Attributes:
        needs_corpus: if False, the corpus is not even encoded.
        needs_id_images: the choice depends on few ID images.
        needs_lengths: the corpus must say how long the text tower's own embeddings are (`LabelSet.lengths`).
    """

    needs_corpus: ClassVar[bool] = True
    needs_id_images: bool = False  # for all settings or for some
    needs_lengths: ClassVar[bool] = False

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        """The largest number of negatives that can be selected; asked before anything is embedded.

        Raises:
            UserError: the corpus or the ID classes are too few.
        """
        return len(corpus)

    @abstractmethod
    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        """Positions in the corpus, in the order in which the score takes the negatives."""

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """How near to the ID classes each label is, written beside the chosen negatives.

        By default the largest cosine to an ID class; a selector that chooses by another measure overrides it.
        """
        return (labels.embeddings @ id_labels.embeddings.T).amax(dim=1).cpu()


def quotas(counts: Mapping[PartOfSpeech, int], fraction: Fraction) -> dict[PartOfSpeech, int]:
    """How many nouns and how many adjectives a fraction of so many is, each rounded down.

    Args:
        counts: of the words.
        fraction: one for both, or one for each; a part of speech that it does not name has none.
    """
    shares = fraction if isinstance(fraction, Mapping) else dict.fromkeys(get_args(PartOfSpeech), fraction)
    return {part: int(counts.get(part, 0) * shares.get(part, 0)) for part in get_args(PartOfSpeech)}


def lowest(values: Float[Tensor, " W"], candidate: Bool[Tensor, " W"], count: int) -> Int[Tensor, " K"]:
    """Positions of the candidates with the lowest values, rising; ties keep the order of the corpus."""
    positions = candidate.nonzero().flatten()
    return positions[values[positions].argsort(stable=True)[:count]]


def lowest_per_part(
    values: Float[Tensor, " W"],
    candidate: Bool[Tensor, " W"],
    parts_of_speech: Sequence[PartOfSpeech],
    fraction: Fraction,
) -> Int[Tensor, " K"]:
    """Of the nouns, then of the adjectives, the candidates with the lowest values, as many as the fraction says."""
    of_part = {
        wanted: candidate & torch.tensor([part == wanted for part in parts_of_speech], dtype=torch.bool)
        for wanted in get_args(PartOfSpeech)
    }
    wanted = quotas({part: int(mask.sum()) for part, mask in of_part.items()}, fraction)
    return torch.cat([lowest(values, mask, wanted[part]) for part, mask in of_part.items()])


def check_any(count: int, num_words: int) -> None:
    """Raise a UserError where no negative label is left."""
    if not count:
        raise UserError(
            f"At least one negative label must be selected; got none of {num_words} words. "
            "Raise negative_selector.fraction, or give a larger corpus."
        )


def check_size(fraction: Fraction | None, num_labels: int | None) -> None:
    """Check that a selector is told either a share or a number of labels to keep.

    Raises:
        UserError: neither or both are set.
    """
    if (fraction is None) == (num_labels is None):
        raise UserError(
            "Exactly one of negative_selector.fraction and negative_selector.num_labels must be set; got "
            f"fraction={fraction} and num_labels={num_labels}. Set the other one to null."
        )
