"""WordNet 3.1's nouns and adjectives, from the tables that ship with the package.

Everything is read once and looked up in dictionaries: the first call takes under a second, later ones microseconds.
"""

import gzip
from collections.abc import Iterable
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from neglab.types import PartOfSpeech

ASSETS = Path(__file__).parent / "assets" / "wordnet"
TABLE = ASSETS / "wordnet31.tsv.gz"
NOUN_MAP = ASSETS / "nouns30to31.tsv.gz"
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
    return tuple(_synset(row) for row in _rows(TABLE))


def synset(synset_id: str) -> Synset | None:
    """The synset with this id; None where WordNet 3.1 has none among nouns and adjectives."""
    return _by_id().get(synset_id)


def senses(name: str) -> tuple[str, ...]:
    """The ids of all noun synsets that have this lemma, whatever its case, in the order of their offset.

    Args:
        name: underscores count as spaces, and repeated spaces as one.
    """
    return _senses().get(normalized(name), ())


def normalized(name: str) -> str:
    """The form in which names are compared: lower case, single spaces, no underscores."""
    return " ".join(name.replace("_", " ").lower().split())


def below(synset_ids: Iterable[str]) -> frozenset[str]:
    """All noun synsets strictly below any of these in the hyponym tree, instances included.

    One of the given synsets is in the answer only where it lies below another one.
    """
    hyponyms = _hyponyms()
    found: set[str] = set()
    open_ids = list(synset_ids)
    while open_ids:
        fresh = set(hyponyms.get(open_ids.pop(), ())) - found
        found |= fresh
        open_ids += fresh
    return frozenset(found)


def is_proper(name: str) -> bool:
    """Whether the name has noun senses and each of them is an instance, such as a city or a person.

    Source: WordNet's pointers `@i`. Taxon names ("genus Canis") are classes there, not instances.
    """
    ids = senses(name)
    return bool(ids) and all(_by_id()[synset_id].is_instance for synset_id in ids)


def synset_of_wnid(wnid: str) -> str | None:
    """The synset of an ImageNet class id: "n02084071" is "02086723-n", dog.

    Args:
        wnid: "n" and a noun offset of WordNet 3.0.

    Returns:
        None where 3.0 has no such noun, or none of its sense keys lives on in 3.1 (47 of 82,115).

    Source: the sense keys of both versions; the map is made by tools/build_wordnet.py.
    """
    return _noun_map().get(wnid)


@cache
def _by_id() -> dict[str, Synset]:
    return {entry.id: entry for entry in synsets()}


@cache
def _senses() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for entry in synsets():
        if entry.part_of_speech == "noun":
            for lemma in entry.lemmas:
                found.setdefault(lemma.lower(), {})[entry.id] = None  # "A" and "a" stand in one synset
    return {name: tuple(ids) for name, ids in found.items()}


@cache
def _hyponyms() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for entry in synsets():
        for hypernym in entry.hypernyms:
            found.setdefault(hypernym, []).append(entry.id)
    return {hypernym: tuple(ids) for hypernym, ids in found.items()}


@cache
def _noun_map() -> dict[str, str]:
    # Each row holds differences from the row before; sums give the offset and the shift.
    rows = [tuple(map(int, row.split("\t"))) for row in _rows(NOUN_MAP)]
    offsets, shifts = (accumulate(column) for column in zip(*rows, strict=True))
    return {f"n{offset:08d}": f"{offset + shift:08d}-n" for offset, shift in zip(offsets, shifts, strict=True)}


def _rows(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


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
