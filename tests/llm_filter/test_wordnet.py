import logging
import random
import time

import fakes
import pytest
import torch
from hydra.utils import instantiate
from reference import wordnet_filter

from neglab.compose import compose
from neglab.data.imagenet import NAMES, ImageNetFolder
from neglab.llm_filter.wordnet import WordNetFilter, class_senses
from neglab.types import LabelSet, UserError, Words
from neglab.wordnet import below, senses, synset, synsets

DOG = "02086723-n"
NOUNS = [entry for entry in synsets() if entry.part_of_speech == "noun"]


def labels(*names, part_of_speech="noun", ids=None):
    return LabelSet(names, (part_of_speech,) * len(names), fakes.unit(len(names)), ids or (None,) * len(names))


def verdicts(negatives, classes, **knobs):
    settings = {"drop_proper_nouns": True, "drop_subcategories": True, "taxon_prefixes": ["genus "], **knobs}
    result = WordNetFilter(**settings).apply(negatives, classes, fakes.NoEncoder())
    assert [row["label"] for row in result.verdicts] == [row["name"] for row in result.verdicts]
    assert [row["label"] for row in result.verdicts] == list(negatives.names)
    kept = [i for i, row in enumerate(result.verdicts) if row["verdict"] == "kept"]
    assert result.positions.tolist() == kept
    assert result.names == tuple(negatives.names[i] for i in kept)
    assert all(list(row) == ["label", "name", "verdict", "reason", "class", "unclear"] for row in result.verdicts)
    assert all(
        row["unclear"] == "0" and (row["verdict"] == "dropped") == bool(row["reason"]) for row in result.verdicts
    )
    return [(row["reason"], row["class"]) for row in result.verdicts]


def test_each_reason():
    negatives = labels("Donner Pass", "genus Canis", "poodle", "Dog", "domestic dog", "teapot", "blurb of words")
    assert verdicts(negatives, labels("teaspoon", "dog")) == [
        ("proper noun", ""),
        ("proper noun", ""),
        ("subcategory", "dog"),
        ("the same", "dog"),
        ("the same", "dog"),
        ("", ""),
        ("", ""),
    ]


def test_the_first_class_is_named():
    assert verdicts(labels("poodle", "beagle", "chair"), labels("animal", "dog", "beagle")) == [
        ("subcategory", "animal"),
        ("the same", "beagle"),
        ("", ""),
    ]


def test_adjectives_are_kept():
    phrases = labels("dog", "Donner Pass", "genus canis", "rocky area", part_of_speech="adjective")
    assert verdicts(phrases, labels("dog")) == [("", "")] * 4


def test_the_sense_of_the_corpus_counts():
    frankfurter = next(sense for sense in senses("dog") if "frankfurter" in synset(sense).lemmas)
    assert verdicts(labels("hot dog", "idea"), labels("dog", ids=(DOG,))) == [("", "")] * 2
    assert verdicts(labels("hot dog", "idea"), labels("dog"))[0] == (
        "the same",
        "dog",
    )  # one sense of each is a sausage
    assert verdicts(labels("wiener", "idea"), labels("canine", ids=(DOG,)))[0] == ("", "")
    both = labels("mastiff", "frank", ids=(senses("mastiff")[0], frankfurter))
    assert verdicts(labels(*both.names, "idea", ids=(*both.synsets, None)), labels("pet", ids=(DOG,))) == [
        ("subcategory", "pet"),
        ("", ""),
        ("", ""),
    ]


def test_any_sense_drops_a_label_whose_sense_is_unknown():
    crane = {synset(sense).lexname: sense for sense in senses("crane")}
    machine, bird = crane["noun.artifact"], crane["noun.animal"]
    other = labels("crane", "idea", ids=(bird, None))
    assert verdicts(labels("crane", "idea"), labels("device"))[0] == ("subcategory", "device")
    assert verdicts(other, labels("device"))[0] == ("", "")
    assert verdicts(other, labels("the machine", ids=(machine,)))[0] == ("", "")


def test_imagenets_ids_say_which_sense_is_meant(caplog):
    """By name alone 140 of its classes are unknown, and the plant "skunkweed" brings locoweed under "skunk"."""
    by_name, by_id = Words.nouns(list(NAMES.values())), ImageNetFolder("", None, None, True, None).class_names()
    negatives = labels("locoweed", "poodle")
    for words, expected in ((by_name, "skunk"), (by_id, "")):
        caplog.clear()
        classes = LabelSet(words.names, words.parts_of_speech, fakes.unit(1000), words.synsets)
        assert verdicts(negatives, classes)[0][1] == expected
        assert bool(caplog.records) == (words is by_name)
        assert "no noun for 140 of 1000 ID classes" in caplog.text or words is by_id


def test_an_adjectives_synset_is_no_sense_of_a_noun():
    adjective = next(entry for entry in synsets() if entry.part_of_speech == "adjective")
    assert verdicts(labels("poodle", "idea", ids=(adjective.id, None)), labels("dog"))[0] == ("subcategory", "dog")


@pytest.mark.parametrize(
    ("name", "first_lemmas"),
    [
        ("swim trunks / shorts", {"drawers", "short pants"}),
        ("baluster / handrail", {"baluster", "bannister"}),
        ("kite (bird of prey)", {"kite"}),
        ("tree_frog", {"tree toad", "tree frog", "tailed frog"}),
        ("hen of no kind", set()),
    ],
)
def test_class_names_are_tried_piecewise(name, first_lemmas):
    assert {synset(sense).lemmas[0] for sense in class_senses(name)} <= first_lemmas
    assert bool(class_senses(name)) == bool(first_lemmas)


def test_a_parenthesis_tells_the_sense():
    machines, birds = below(senses("machine")) | below(senses("device")), below(senses("bird"))
    assert set(class_senses("crane (bird)")) <= birds
    assert set(class_senses("crane (device)")) <= machines
    assert class_senses("crane (something unheard of)") == senses("crane")


def test_knobs():
    negatives, classes = labels("Donner Pass", "genus canis", "poodle", "family Canidae"), labels("dog")
    assert verdicts(negatives, classes, drop_proper_nouns=False) == [
        ("", ""),
        ("", ""),
        ("subcategory", "dog"),
        ("", ""),
    ]
    assert verdicts(negatives, classes, drop_subcategories=False)[2] == ("", "")
    found = verdicts(negatives, classes, taxon_prefixes=["Family "])
    assert [reason for reason, _ in found] == ["proper noun", "", "subcategory", "proper noun"]
    assert verdicts(negatives, classes, taxon_prefixes=[])[1] == ("", "")


def test_equals_the_slow_version():
    """Exactly, on 300 labels drawn with and without their sense, and classes named and given."""
    draw = random.Random(0)
    rows = [(entry.id, entry.is_instance, entry.hypernyms, entry.lemmas) for entry in NOUNS]
    chosen = draw.sample(NOUNS, 150) + [synset(sense) for sense in draw.sample(sorted(below([DOG])), 20)]
    words = [(draw.choice(entry.lemmas), draw.choice((entry.id, None))) for entry in chosen]
    words += [("Genus Rosa", None), ("rocky area", None), ("chair", None), ("shorts", None)]
    named = [
        "swim trunks / shorts",
        "dog",
        "crane (machine)",
        "plant",
        "person",
        "artifact",
        "region",
        "hen of no kind",
    ]
    classes = labels(*named, ids=(None, DOG, *[None] * 5, None))
    negatives = labels(*[name for name, _ in words], ids=tuple(known for _, known in words))
    lists = [zip(part.names, part.parts_of_speech, part.synsets, strict=True) for part in (negatives, classes)]
    slow = wordnet_filter.judge(*map(list, lists), rows, ["genus "])
    assert verdicts(negatives, classes) == slow
    assert {reason for reason, _ in slow} == {"", "proper noun", "the same", "subcategory"}


def test_ten_thousand_labels_in_a_second():
    names = tuple(entry.lemmas[0] for entry in NOUNS[::8][:10_000])
    classes = labels(*(entry.lemmas[0] for entry in NOUNS[41::82][:1000]))
    senses("dog"), below([DOG])
    start = time.process_time()
    verdicts(labels(*names), classes)
    assert len(names) == 10_000
    assert time.process_time() - start < 3  # 0.1 s on two busy cores


def test_classes_that_wordnet_does_not_know_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        verdicts(labels("poodle", "idea"), labels("hen of no kind", "dog"))
    assert "no noun for 1 of 2 ID classes" in caplog.text and "hen of no kind" in caplog.text
    caplog.clear()
    verdicts(labels("poodle", "idea"), labels("hen of no kind"), drop_subcategories=False)
    assert not caplog.text


def test_no_negatives_are_nothing_to_judge():
    assert verdicts(labels(), labels("dog")) == []


def test_the_yaml_builds_it_and_leaves_the_random_state_alone():
    built = instantiate(compose(["llm_filter=wordnet"]).llm_filter)
    before = torch.random.get_rng_state()
    result = built.apply(labels("genus rosa", "poodle", "idea"), labels("dog"), fakes.NoEncoder())
    assert result.names == ("idea",)
    assert torch.equal(before, torch.random.get_rng_state())


def test_mistakes():
    with pytest.raises(UserError, match=r"at least one negative label; .* dropped all 3 \(1 as proper noun, 2 as sub"):
        verdicts(labels("Donner Pass", "poodle", "beagle"), labels("dog"))
    for prefixes in ("genus ", [""]):
        with pytest.raises(UserError, match=r"llm_filter\.taxon_prefixes must be a list"):
            verdicts(labels("idea"), labels("dog"), taxon_prefixes=prefixes)
