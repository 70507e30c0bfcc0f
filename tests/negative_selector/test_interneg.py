import logging
from dataclasses import replace

import fakes
import pytest
import torch
from reference import interneg as reference
from torch.nn.functional import normalize

from neglab.negative_selector.interneg import InterNegSelector
from neglab.negative_selector.neglabel import NegLabelSelector
from neglab.types import LabelledEmbeddings, LabelSet, UserError

CORPUS, CLASSES = fakes.label_set(300, num_adjectives=70), fakes.label_set(6, seed=1, prefix="class")
LABELS = torch.arange(6).repeat(4)
IMAGES = LabelledEmbeddings(normalize(CLASSES.embeddings[LABELS] * 0.35 + fakes.unit(24, seed=5), dim=1), LABELS)
KNOBS = {
    "num_labels": 40,
    "allocation": "per_part_of_speech",
    "minimum_per_part": 0,
    "modality": "inter",
    "quantile": 0.95,
}


def selector(**changes):
    return InterNegSelector(**{**KNOBS, **changes})


@pytest.mark.parametrize("allocation", ["joint", "per_part_of_speech"])
@pytest.mark.parametrize(("number", "minimum"), [(40, 0), (3, 1), (1, 1), (1000, 0)])
def test_equals_the_loops(allocation, number, minimum):
    removed = [i in (3, 280) for i in range(300)]
    names = tuple(CLASSES.names[i == 280] if removed[i] else name for i, name in enumerate(CORPUS.names))
    corpus = LabelSet(names, CORPUS.parts_of_speech, CORPUS.embeddings, CORPUS.synsets)
    chosen = selector(num_labels=number, allocation=allocation, minimum_per_part=minimum).select(
        corpus, CLASSES, IMAGES
    )
    means = reference.prototypes(IMAGES.embeddings, LABELS.tolist(), 6)
    is_noun = [part == "noun" for part in corpus.parts_of_speech]
    joint = allocation == "joint"
    wanted = reference.select(corpus.embeddings, is_noun, removed, CLASSES.embeddings, means, number, joint, minimum)
    assert chosen.tolist() == wanted
    assert 0 < len(chosen) < 300


@pytest.mark.parametrize(
    ("modality", "num_labels", "pool", "shares"),
    [
        ("inter", 2000, (7543, 53_036), (249, 1751)),  # what passes on ImageNet
        ("intra", 2000, (11_453, 58_101), (329, 1671)),  # InterNeg's ablation: all but the ID names
        ("intra", 10_000, (11_453, 58_101), (1646, 8354)),  # AdaNeg
    ],
)
def test_the_official_shares(modality, num_labels, pool, shares):
    """Adjectives come first, by their share of the words, rounded down."""
    corpus = fakes.label_set(sum(pool), dim=2, num_adjectives=pool[0])
    corpus.embeddings[:] = torch.tensor([-1.0, 0.0])
    classes = fakes.label_set(2, dim=2, prefix="class")
    classes.embeddings[:] = torch.tensor([1.0, 0.0])
    images = LabelledEmbeddings(classes.embeddings.clone(), torch.tensor([0, 1]))
    chosen = selector(num_labels=num_labels, modality=modality).select(corpus, classes, images)
    kinds = [corpus.parts_of_speech[i] for i in chosen.tolist()]
    assert kinds == ["adjective"] * shares[0] + ["noun"] * shares[1]


def test_the_condition_is_strict():
    classes = fakes.label_set(1, prefix="class")
    corpus = fakes.label_set(2)
    corpus.embeddings[0] = classes.embeddings[0]
    corpus.embeddings[1] = -classes.embeddings[0]
    images = LabelledEmbeddings(fakes.unit(1, seed=9), torch.tensor([0]))
    toward = (classes.embeddings @ images.embeddings.T).item() > 0
    if not toward:
        images = LabelledEmbeddings(-images.embeddings, images.labels)
    assert selector(num_labels=1).select(corpus, classes, images).tolist() == [1]


@pytest.mark.parametrize("num_classes", [1, 2, 10, 100])
def test_intra_ranks_by_a_sorted_cosine(num_classes):
    """At 2 and 10 classes the largest cosine, at 100 the fifth largest: index int(.95 C), nothing interpolated."""
    classes = fakes.label_set(num_classes, seed=1, prefix="class")
    expected = [reference.intra_similarity(word, classes.embeddings, 0.95) for word in CORPUS.embeddings]
    intra = selector(modality="intra", allocation="joint")
    assert torch.allclose(intra.similarity(CORPUS, classes), torch.tensor(expected), atol=1e-6, rtol=0)
    chosen = intra.select(CORPUS, classes)
    assert chosen.tolist() == torch.tensor(expected).argsort(stable=True)[:40].tolist()
    if num_classes == 100:
        interpolated = NegLabelSelector(None, 40, 0.95, False, None).select(CORPUS, classes)
        assert set(chosen.tolist()) != set(interpolated.tolist())


def test_intra_takes_every_word_but_id_names_and_no_id_images():
    shares = selector(modality="intra").select(CORPUS, CLASSES).tolist()
    assert [CORPUS.parts_of_speech[i] for i in shares] == ["adjective"] * 9 + ["noun"] * 31
    named = replace(CLASSES, names=(CORPUS.names[0], CORPUS.names[299], *CLASSES.names[2:]))
    chosen = selector(modality="intra", num_labels=1000).select(CORPUS, named).tolist()
    assert sorted(chosen) == list(range(1, 299))  # the first is a noun, the last an adjective
    assert selector().needs_id_images and not selector(modality="intra").needs_id_images


def test_chunks_do_not_change_the_selection(monkeypatch):
    whole = selector().select(CORPUS, CLASSES, IMAGES)
    monkeypatch.setattr("neglab.inversion.SIMILARITY_ELEMENTS", 70)
    assert torch.equal(selector().select(CORPUS, CLASSES, IMAGES), whole)


def test_fewer_words_than_asked_for_are_all_taken_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        chosen = selector(num_labels=1000).select(CORPUS, CLASSES, IMAGES)
    assert f"only {len(chosen)} of 300 words" in caplog.text


def test_the_similarity_is_neglabels():
    assert selector().similarity(CORPUS, CLASSES).shape == (300,)


@pytest.mark.parametrize("changes", [{"allocation": "all"}, {"modality": "both"}])
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"negative_selector\."):
        selector(**changes)


def test_what_is_missing():
    with pytest.raises(UserError, match="got none"):
        selector().select(CORPUS, CLASSES)
    few = LabelledEmbeddings(IMAGES.embeddings[:5], IMAGES.labels[:5])
    with pytest.raises(UserError, match="1 classes, the first is 'class 5'"):
        selector().select(CORPUS, CLASSES, few)
    exact = LabelledEmbeddings(-CLASSES.embeddings, torch.arange(6))
    with pytest.raises(UserError, match="none of 300 is"):
        selector().select(CORPUS, CLASSES, exact)
    with pytest.raises(UserError, match="none of 0 is"):
        selector().select(fakes.label_set(0), CLASSES, IMAGES)
