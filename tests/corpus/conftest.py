"""A miniature of nltk's data: a WordNet, two other languages and a tagger, in nltk's own formats."""

import json

import nltk.data
import pytest

NOUNS = [("n", ["entity"]), ("n", ["Tree_frog", "frog"]), ("n", ["cat"]), ("n", ["red"])]
ADJECTIVES = [("a", ["big"]), ("s", ["huge(p)"]), ("a", ["red"])]
TAGS = {"weights": {"bias": {"NN": 1.0, "VB": 0.5}, "i suffix ful": {"JJ": 3.0}}, "tagdict": {"of": "IN"}}


@pytest.fixture
def nltk_data(tmp_path, monkeypatch):
    """The folder in which nltk looks, and nowhere else."""
    root = tmp_path / "nltk_data"
    monkeypatch.setattr(nltk.data, "path", [str(root)])
    write_wordnet(root / "corpora" / "wordnet")
    write_language(root / "corpora" / "omw-1.4" / "fra", "fra", {"n": ["grenouille arboricole", "Chat"], "a": ["gros"]})
    write_language(root / "corpora" / "omw-1.4" / "slk", "slk", {"n": ["žaba"], "s": ["veľký"]})
    tagger = root / "taggers" / "averaged_perceptron_tagger_eng"
    tagger.mkdir(parents=True)
    for name, content in {**TAGS, "classes": ["IN", "JJ", "NN", "VB"]}.items():
        (tagger / f"averaged_perceptron_tagger_eng.{name}.json").write_text(json.dumps(content))
    return root


def write_wordnet(folder):
    """Princeton's files, with offsets that are true."""
    folder.mkdir(parents=True)
    synsets = {"noun": NOUNS, "adj": ADJECTIVES, "verb": [("v", ["run"])], "adv": [("r", ["soon"])]}
    senses = []
    for suffix, entries in synsets.items():
        text, offsets = "  1 WordNet 3.0 Copyright of nobody  \n", {}
        for kind, lemmas in entries:
            head = f"001 & {offsets['big'][0]:08d} a 0000" if kind == "s" else "000"
            names = " ".join(f"{lemma} 0" for lemma in lemmas)
            for lemma in lemmas:
                offsets.setdefault(lemma.partition("(")[0].lower(), []).append(len(text))
                senses.append(f"{lemma.lower()}%{'nvars'.index(kind) + 1}:00:00:: {len(text):08d} 1 0\n")
            text += f"{len(text):08d} 00 {kind} {len(lemmas):02x} {names} {head} | gloss  \n"
        index = [(lemma, len(at), " ".join(f"{o:08d}" for o in at)) for lemma, at in sorted(offsets.items())]
        (folder / f"data.{suffix}").write_text(text)
        kind = entries[0][0]
        (folder / f"index.{suffix}").write_text("".join(f"{n} {kind} {k} 0 {k} 0 {at}  \n" for n, k, at in index))
        (folder / f"{suffix}.exc").write_text("")
    (folder / "index.sense").write_text("".join(sorted(senses)))
    (folder / "lexnames").write_text("00\tall\t1\n")


def write_language(folder, code, lemmas):
    """A table of the Open Multilingual Wordnet, on the offsets of the WordNet above."""
    folder.mkdir(parents=True)
    base = folder.parents[1] / "wordnet"
    lines = [f"# {code}\n"]
    for kind, names in lemmas.items():
        data = (base / ("data.noun" if kind == "n" else "data.adj")).read_text().splitlines()
        offsets = [line[:8] for line in data if line[12:13] == kind]
        lines += [f"{offset}-{kind}\t{code}:lemma\t{name}\n" for offset, name in zip(offsets, names, strict=False)]
    (folder / f"wn-data-{code}.tab").write_text("".join(lines))
