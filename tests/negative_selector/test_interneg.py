import logging

import fakes
import pytest
import torch
from reference import interneg as reference
from reference import neglabel as neglabel_reference
from torch.nn.functional import normalize

from neglab.negative_selector.interneg import InterNegSelector
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


def test_the_official_shares():
    """7,543 adjectives and 53,036 nouns pass on ImageNet: 249 and 1,751 of 2,000."""
    corpus = fakes.label_set(7543 + 53_036, dim=2, num_adjectives=7543)
    corpus.embeddings[:] = torch.tensor([-1.0, 0.0])
    classes = fakes.label_set(2, dim=2, prefix="class")
    classes.embeddings[:] = torch.tensor([1.0, 0.0])
    images = LabelledEmbeddings(classes.embeddings.clone(), torch.tensor([0, 1]))
    chosen = selector(num_labels=2000).select(corpus, classes, images)
    kinds = [corpus.parts_of_speech[i] for i in chosen.tolist()]
    assert kinds == ["adjective"] * 249 + ["noun"] * 1751


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


def test_intra_is_neglabels_ranking():
    chosen = selector(modality="intra", allocation="joint").select(CORPUS, CLASSES)
    _, similarity = neglabel_reference.mine(CORPUS.embeddings, CLASSES.embeddings, [True] * 300, 1.0, 0.95)
    assert chosen.tolist() == torch.tensor(similarity).argsort(stable=True)[:40].tolist()
    shares = selector(modality="intra").select(CORPUS, CLASSES).tolist()
    assert [CORPUS.parts_of_speech[i] for i in shares] == ["adjective"] * 9 + ["noun"] * 31


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
