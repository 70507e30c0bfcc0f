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


def test_nouns_and_adjectives_may_have_fractions_of_their_own():
    corpus, classes = fakes.label_set(70, num_adjectives=30), fakes.label_set(3, seed=1)
    own = selector(fraction={"noun": 0.15, "adjective": 0.10})
    both = selector().select(corpus, classes)  # 6 nouns, 4 adjectives
    assert own.select(corpus, classes).tolist() == both[:9].tolist()
    assert own.most(corpus.words, classes.names) == 9
    assert selector(fraction={"noun": 0.15}).select(corpus, classes).tolist() == both[:6].tolist()


@pytest.mark.parametrize(("count", "position"), [(1000, 949.05), (100, 94.05), (20, 18.05), (10, 8.55), (2, 0.95)])
def test_the_quantile_position_of_the_specification(count, position):
    """In values 0 to C - 1, spread over a circle's quarter, the quantile is its own position."""
    steps = torch.arange(count) / count
    classes = fakes.label_set(count, dim=2, seed=1)
    classes.embeddings[:] = torch.stack([steps, (1 - steps**2).sqrt()], dim=1)
    words = fakes.label_set(1, dim=2)
    words.embeddings[:] = torch.tensor([1.0, 0.0])
    assert selector().similarity(words, classes).item() * count == pytest.approx(position, abs=1e-3)


@pytest.mark.parametrize("quantile", [0.0, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("num_classes", [1, 2, 21, 100, 1000])
def test_the_quantile_is_torchs_to_rounding(quantile, num_classes):
    corpus, classes = fakes.label_set(64), fakes.label_set(num_classes, seed=1)
    # In float64: torch's own float32 position is off by up to 3e-5 ranks.
    expected = torch.quantile((corpus.embeddings @ classes.embeddings.T).double(), quantile, dim=1)
    ours = selector(quantile=quantile).similarity(corpus, classes)
    assert torch.allclose(ours.double(), expected, atol=2e-7, rtol=0)


def test_chunks_do_not_change_the_selection(monkeypatch):
    corpus, classes = fakes.label_set(100, num_adjectives=30), fakes.label_set(10, seed=1)
    whole = selector().select(corpus, classes)
    monkeypatch.setattr("neglab.negative_selector.neglabel.CHUNK_ELEMENTS", 70)
    assert torch.equal(selector().select(corpus, classes), whole)


def test_ties_keep_the_order_of_the_corpus():
    corpus, classes = fakes.label_set(10), fakes.label_set(3, seed=1)
    corpus.embeddings[:] = corpus.embeddings[0]
    assert selector(fraction=0.5).select(corpus, classes).tolist() == list(range(5))


def test_joint_selection_mixes_parts_of_speech():
    corpus, classes = fakes.label_set(60, num_adjectives=30), fakes.label_set(5, seed=1)
    chosen = selector(fraction=None, num_labels=10).select(corpus, classes)
    similarity = selector().similarity(corpus, classes)
    assert chosen.tolist() == similarity.argsort()[:10].tolist()


def test_id_names_can_be_removed():
    corpus, classes = fakes.label_set(20), fakes.label_set(3)  # the classes are the first three words
    kept = selector(fraction=1.0, remove_id_names=True).select(corpus, classes)
    assert not {0, 1, 2} & set(kept.tolist())
    assert len(kept) == 17


def test_only_nouns_are_removed_by_name():
    corpus, classes = fakes.label_set(20, num_adjectives=19), fakes.label_set(3)
    kept = selector(fraction=1.0, remove_id_names=True).select(corpus, classes)
    assert sorted(kept.tolist()) == list(range(1, 20))


@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_the_guard_puts_duplicates_last(quantile):
    """CSP's guard looks at the largest similarity, whatever the quantile; guarded words still count as candidates."""
    corpus, classes = fakes.label_set(40, num_adjectives=10), fakes.label_set(8)  # the classes are the first words
    guarded = selector(fraction=1.0, quantile=quantile, duplicate_guard=0.95).select(corpus, classes)
    assert guarded[22:30].tolist() == list(range(8))
    is_noun = [kind == "noun" for kind in corpus.parts_of_speech]
    for fraction in (1.0, 0.8):
        expected, _ = reference.mine(corpus.embeddings, classes.embeddings, is_noun, fraction, quantile, guard=0.95)
        ours = selector(fraction=fraction, quantile=quantile, duplicate_guard=0.95).select(corpus, classes)
        assert ours.tolist() == expected


def test_names_do_not_matter():
    corpus, classes = fakes.label_set(50), fakes.label_set(4, seed=1)
    renamed = fakes.label_set(50, prefix="other")
    assert torch.equal(selector().select(corpus, classes), selector().select(renamed, classes))


@pytest.mark.parametrize(
    "changes",
    [
        {"fraction": None},
        {"num_labels": 5},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(UserError, match=r"negative_selector\."):
        selector(**changes)


def test_nothing_left_is_an_error():
    with pytest.raises(UserError, match="At least one negative label"):
        selector().select(fakes.label_set(3), fakes.label_set(2, seed=1))
    with pytest.raises(UserError, match="got none of 0 words"):
        selector(remove_id_names=True).select(fakes.label_set(0), fakes.label_set(2, seed=1))


def test_more_labels_than_candidates():
    with pytest.raises(UserError, match=r"at most the number of candidates; got num_labels=11 with 10 words"):
        selector(fraction=None, num_labels=11).select(fakes.label_set(10), fakes.label_set(2, seed=1))
