from collections import Counter

import pytest

from neglab.corpus.wordnet import LEXNAMES, WordNetCorpus
from neglab.data.imagenet import NAMES
from neglab.types import UserError
from neglab.wordnet import synsets

# Words per list of the official flavour: the released lists without their parsing debris and single letters.
LIST_SIZES = {
    "noun.Tops": 50,
    "noun.act": 5897,
    "noun.attribute": 2729,
    "noun.cognition": 2775,
    "noun.event": 998,
    "noun.feeling": 413,
    "noun.group": 2407,
    "noun.location": 2959,
    "noun.motive": 41,
    "noun.object": 1501,
    "noun.phenomenon": 629,
    "noun.plant": 7631,
    "noun.possession": 998,
    "noun.process": 719,
    "noun.relation": 411,
    "noun.shape": 331,
    "noun.state": 3413,
    "noun.substance": 2926,
    "noun.time": 933,
    "adj.ppl": 60,
    "adj.all": 9997,
}


def corpus(flavour="official", **rules):
    defaults = dict.fromkeys(("lexnames", "first_lemma_only", "min_length", "drop_antonym_cluster_heads", "lower_case"))
    return WordNetCorpus(flavour, **{**defaults, "exclude": [], "file_order": "given", **rules})


@pytest.mark.parametrize(("flavour", "count"), [("official", 69_978), ("clean", 70_833), ("full", 136_314)])
def test_flavours(flavour, count):
    words = corpus(flavour).words(())
    assert len(words) == len(set(words.names)) == count


@pytest.mark.parametrize("lexname", sorted(LIST_SIZES))
def test_list_sizes(lexname):
    assert len(corpus(lexnames=[lexname]).words(())) == LIST_SIZES[lexname]


def test_the_official_flavour_leaves_animals_and_food_out():
    official, full = set(corpus().words(()).names), set(corpus("full").words(()).names)
    assert "pastrami" in full - official
    assert "wildebeest" not in official
    assert {"malware", "aqueous"} <= official


def test_the_first_list_decides_the_part_of_speech():
    kinds = {lexnames: corpus(lexnames=lexnames).words(()) for lexnames in (LEXNAMES[:3], LEXNAMES[11:13])}
    assert Counter(kinds[LEXNAMES[:3]].parts_of_speech).keys() == {"noun"}
    both = corpus(lexnames=["adj.all", "noun.time"]).words(())
    swapped = corpus(lexnames=["noun.time", "adj.all"]).words(())
    shared = set(corpus(lexnames=["adj.all"]).words(()).names) & set(corpus(lexnames=["noun.time"]).words(()).names)
    assert shared
    word = sorted(shared)[0]
    assert both.parts_of_speech[both.names.index(word)] == "adjective"
    assert swapped.parts_of_speech[swapped.names.index(word)] == "noun"


def test_nouns_first_makes_1361_words_nouns():
    """InterNeg, AdaNeg, TANL and TINS: a word that is both is a noun, wherever its lists stand."""
    words, authors = (corpus(file_order=order).words(()) for order in ("nouns_first", "authors"))
    kinds, others = (dict(zip(one.names, one.parts_of_speech, strict=True)) for one in (words, authors))
    assert kinds.keys() == others.keys()
    changed = {name for name, kind in kinds.items() if kind != others[name]}
    assert len(changed) == 1361 and {"abkhaz", "agnostic"} <= changed
    assert {kinds[name] for name in changed} == {"noun"}
    nouns = set(corpus(lexnames=[name for name in LEXNAMES[:-2] if name.startswith("noun")]).words(()).names)
    assert {name for name, kind in kinds.items() if kind == "noun"} == nouns
    # The released lists, with traces of parsing, hold 58,546 and 11,454, and 58,101 and 11,453 without ImageNet's.
    assert Counter(words.parts_of_speech) == {"noun": 58_543, "adjective": 11_435}
    left = Counter(kind for name, kind in kinds.items() if name not in set(NAMES.values()))
    assert left == {"noun": 58_098, "adjective": 11_434}


def test_each_rule_is_an_option():
    assert len(corpus(first_lemma_only=False).words(())) > 69_978
    assert "k" in corpus(min_length=1, lexnames=["noun.quantity", "noun.communication"]).words(()).names
    assert len(corpus(drop_antonym_cluster_heads=False).words(())) == 70_833
    assert any(name != name.lower() for name in corpus(lower_case=False).words(()).names)


def test_synsets_are_wordnets_own():
    by_id = {synset.id: synset for synset in synsets()}
    assert len(by_id) == 82_192 + 18_185
    dog = next(s for s in synsets() if s.lemmas[:2] == ("dog", "domestic dog"))
    assert dog.lexname == "noun.animal" and "canine" in by_id[dog.hypernyms[0]].lemmas
    paris = next(s for s in synsets() if s.lemmas[0] == "Paris" and s.lexname == "noun.location")
    assert paris.is_instance and not dog.is_instance


def test_mistakes():
    with pytest.raises(UserError, match=r"corpus\.flavour must be one of official, clean, full; got 'other'"):
        corpus("other")
    with pytest.raises(UserError, match=r"corpus\.lexnames and corpus\.exclude must be among"):
        corpus(lexnames=["noun.nothing"])
    with pytest.raises(UserError, match="at least one word"):
        corpus(min_length=1000).words(())
