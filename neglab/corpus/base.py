"""The contract of a corpus: the words among which negative labels are looked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from neglab.types import PartOfSpeech, Words

Word = tuple[str, PartOfSpeech, str | None]


class Corpus(ABC):
    """A list of words in a fixed, explicit order."""

    @abstractmethod
    def words(self, id_names: Sequence[str]) -> Words:
        """The candidates, after exclusions; each name once.

        Args:
            id_names: the ID classes, for corpora that depend on them.

        Raises:
            UserError: the corpus cannot be read, or is empty.
        """


def first_occurrences(words: Iterable[Word]) -> Words:
    """Each name once, over nouns and adjectives together; the first occurrence decides its part of speech."""
    distinct: dict[str, Word] = {}
    for word in words:
        distinct.setdefault(word[0], word)
    names, parts_of_speech, synsets = zip(*distinct.values(), strict=True) if distinct else ((), (), ())
    return Words(names, parts_of_speech, synsets)
