"""WordNet 3.1's nouns and adjectives, from the table that ships with the package."""

import gzip
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neglab.types import PartOfSpeech

TABLE = Path(__file__).parent / "assets" / "wordnet" / "wordnet31.tsv.gz"
PARTS_OF_SPEECH: dict[str, PartOfSpeech] = {"n": "noun", "a": "adjective"}


class Synset(NamedTuple):
    """A set of synonyms.

    Attributes:
        id: offset in WordNet 3.1 and part of speech: "02086723-n" is dog.
        part_of_speech: "noun" or "adjective".
        lexname: lexicographer file, such as "noun.animal".
        is_instance: names one individual, such as a city or a person.
        opens_antonym_cluster: a head adjective whose first lemma has its antonyms further down the file.
        hypernyms: ids, those of instances included.
        lemmas: in WordNet's order, with case and spaces.
    """

    id: str
    part_of_speech: PartOfSpeech
    lexname: str
    is_instance: bool
    opens_antonym_cluster: bool
    hypernyms: tuple[str, ...]
    lemmas: tuple[str, ...]


@cache
def synsets() -> tuple[Synset, ...]:
    """All synsets: nouns, then adjectives, each in the order of their offset.

    Source: Princeton WordNet 3.1; the table is made by tools/build_wordnet.py.
    """
    rows = gzip.decompress(TABLE.read_bytes()).decode().splitlines()
    return tuple(_synset(row) for row in rows)


def _synset(row: str) -> Synset:
    kind, offset, lexname, flags, hypernyms, lemmas = row.split("\t")
    return Synset(
        f"{offset}-{kind}",
        PARTS_OF_SPEECH[kind],
        lexname,
        "i" in flags,
        "c" in flags,
        tuple(f"{target}-n" for target in hypernyms.split()),
        tuple(lemmas.split("|")),
    )
