"""The conjugated semantic pool: nouns, and each adjective made a phrase with a superclass drawn at random."""

import random
from collections.abc import Sequence

from neglab.corpus.base import Corpus
from neglab.ranges import Seed
from neglab.types import UserError, Words


class CSPCorpus(Corpus):
    """A corpus whose adjectives stand before a superclass: "rocky" becomes "rocky landscape".

    A phrase is the label's name, so two phrases, or a phrase and a noun, may be equal; both stay, as officially.

    Args:
        words: the corpus that gives the nouns and the adjectives, in the order of the draws.
        superclasses: what an adjective is joined with; one is drawn per adjective.
        seed: of the draws, by Python's `random.choice`.

    Raises:
        UserError: no superclass.

    Source: CSP (Chen et al., NeurIPS 2024), official code at 3a7bdab, multi_modal.py and class_names.py; NegRefine's at
        72e4b82d, create_negs.py. The draws are official draws where `words` is the released lists in the official order
        (`corpus@corpus.words=text_files`).
    Differs: over our own WordNet lists the draws fall on words in another order. The generator is the corpus's own.
    """

    def __init__(self, words: Corpus, superclasses: Sequence[str], seed: Seed) -> None:
        if not superclasses:
            raise UserError("corpus.superclasses must hold at least one name; got none.")
        self.base, self.superclasses, self.seed = words, tuple(superclasses), seed

    def words(self, id_names: Sequence[str]) -> Words:
        words, draw = self.base.words(id_names), random.Random(self.seed)
        names = tuple(
            f"{name} {draw.choice(self.superclasses)}" if part_of_speech == "adjective" else name
            for name, part_of_speech in zip(words.names, words.parts_of_speech, strict=True)
        )
        return Words(names, words.parts_of_speech, words.synsets)
