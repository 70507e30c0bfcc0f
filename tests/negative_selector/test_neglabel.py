import fakes
import pytest
import torch
from reference import neglabel as reference

from neglab.negative_selector.neglabel import NegLabelSelector
from neglab.types import UserError


def selector(**changes):
    options = {
        "fraction": 0.15,
        "num_labels": None,
        "quantile": 0.95,
        "remove_id_names": False,
        "duplicate_guard": None,
    }
    return NegLabelSelector(**{**options, **changes})


@pytest.mark.parametrize("num_classes", [1, 2, 10, 100])
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.95, 1.0])
def test_equals_the_loop_over_words(num_classes, quantile):
    corpus, classes = fakes.label_set(200, num_adjectives=40), fakes.label_set(num_classes, seed=1)
    chosen = selector(quantile=quantile).select(corpus, classes)
    is_noun = [kind == "noun" for kind in corpus.parts_of_speech]
    expected, similarity = reference.mine(corpus.embeddings, classes.embeddings, is_noun, 0.15, quantile)
    assert chosen.tolist() == expected
    ours = selector(quantile=quantile).similarity(corpus, classes)
    assert torch.allclose(ours, torch.tensor(similarity), atol=1e-6, rtol=0)


def test_the_official_counts():
    """15% of 57,189 nouns and of 12,811 adjectives, each rounded down: 8,578 + 1,921 labels."""
    corpus = fakes.label_set(70_000, dim=2, num_adjectives=12_811)
    chosen = selector().select(corpus, fakes.label_set(3, dim=2, seed=1))
    kinds = [corpus.parts_of_speech[i] for i in chosen.tolist()]
    assert (kinds.count("noun"), kinds.count("adjective")) == (8578, 1921)
    assert kinds == sorted(kinds, reverse=True)  # nouns first


def test_joint_selection_mixes_parts_of_speech():
    corpus, classes = fakes.label_set(60, num_adjectives=30), fakes.label_set(5, seed=1)
    chosen = selector(fraction=None, num_labels=10).select(corpus, classes)
    similarity = selector().similarity(corpus, classes)
    assert chosen.tolist() == similarity.argsort()[:10].tolist()


def test_id_names_and_duplicates_can_be_removed():
    corpus, classes = fakes.label_set(20), fakes.label_set(3)  # the classes are the first three words
    kept = selector(fraction=1.0, remove_id_names=True).select(corpus, classes)
    assert not {0, 1, 2} & set(kept.tolist())
    guarded = selector(fraction=1.0, quantile=1.0, duplicate_guard=0.95).select(corpus, classes)
    assert not {0, 1, 2} & set(guarded.tolist())
    assert len(guarded) >= 10


def test_names_do_not_matter():
    corpus, classes = fakes.label_set(50), fakes.label_set(4, seed=1)
    renamed = fakes.label_set(50, prefix="other")
    assert torch.equal(selector().select(corpus, classes), selector().select(renamed, classes))


@pytest.mark.parametrize(
    "changes",
    [{"fraction": None}, {"num_labels": 5}, {"fraction": 0.0}, {"fraction": 1.5}, {"quantile": 2.0}],
)
def test_values_out_of_range(changes):
    with pytest.raises(UserError, match=r"negative_selector\."):
        selector(**changes)


def test_nothing_left_is_an_error():
    with pytest.raises(UserError, match="At least one negative label"):
        selector().select(fakes.label_set(3), fakes.label_set(2, seed=1))
