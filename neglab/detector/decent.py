"""A corpus without the words that a person's photos should not be called: insults, and names of body parts."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from neglab.corpus.base import Corpus
from neglab.types import Words
from neglab.wordnet import below, senses, synset

BODY = "noun.body"  # WordNet's lexicographer file of anatomy
# Everything below these, as WordNet 3.1's tree has it. Some are no insults themselves, but it files slurs below them.
KINDS = (
    "00845915-n",  # sexual activity
    "00775604-n",  # sex offense
    "00856347-n",  # sexual perversion
    "00748513-n",  # pornography
    "07503095-n",  # sexual desire
    "07139048-n",  # obscenity, dirty word
    "14878134-n",  # body waste
    "10505025-n",  # prostitute
    "10277344-n",  # libertine
    "10202544-n",  # homosexual
    "09659294-n",  # person of color
    "09654651-n",  # unpleasant person
    "09851208-n",  # bad person
    "10618762-n",  # simpleton
    "09653829-n",  # unfortunate
)
# Slurs and vulgar words of all other kinds, one per line: WordNet's tree has them among peoples, animals and things.
LISTED = Path(__file__).parents[1] / "assets" / "wordnet" / "offensive.txt"


class DecentCorpus(Corpus):
    """Another corpus without offensive and anatomical words.

    Dropped is a word of WordNet's file of anatomy, one below the kinds of persons and acts that `KINDS` names, and one
    of a short list. A word that comes without its synset is dropped where all its noun senses would be.

    Args:
        corpus: the other one.

    Source: WordNet 3.1's lexicographer files and hyponym tree; the list is ours.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def words(self, id_names: Sequence[str]) -> Words:
        words = self.corpus.words(id_names)
        kept = [i for i, (name, own) in enumerate(zip(words.names, words.synsets, strict=True)) if is_decent(name, own)]
        names, parts_of_speech, synsets = words.names, words.parts_of_speech, words.synsets
        return Words(
            tuple(names[i] for i in kept),
            tuple(parts_of_speech[i] for i in kept),
            tuple(synsets[i] for i in kept),
        )


def is_decent(name: str, own: str | None) -> bool:
    """Whether a word may stand beside a person's photo.

    Args:
        name: the word.
        own: its synset; None: not known.
    """
    if name.lower() in listed():
        return False
    meanings = senses(name) if own is None else (own,)
    return not meanings or not all(map(_is_indecent, meanings))


@cache
def listed() -> frozenset[str]:
    """The words of the short list."""
    return frozenset(LISTED.read_text(encoding="utf-8").split("\n")) - {""}


def _is_indecent(synset_id: str) -> bool:
    found = synset(synset_id)
    return synset_id in _of_these_kinds() or (found is not None and found.lexname == BODY)


@cache
def _of_these_kinds() -> frozenset[str]:
    return below(KINDS) | frozenset(KINDS)
