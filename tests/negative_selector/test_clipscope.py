import fakes
import pytest
import torch
from reference import clipscope as reference

from neglab.negative_selector.clipscope import CLIPScopeSelector
from neglab.types import UserError


@pytest.mark.parametrize("num_classes", [1, 10, 60])
@pytest.mark.parametrize(("num_far", "num_near"), [(30, 20), (0, 7), (7, 0), (100, 100)])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_equals_the_sort_of_every_word(num_classes, num_far, num_near, share):
    corpus, classes = fakes.label_set(200), fakes.label_set(num_classes, seed=1)
    rank = max(1, int(share * num_classes))
    selector = CLIPScopeSelector(num_far, num_near, rank)
    expected, similarity = reference.mine(corpus.embeddings, classes.embeddings, num_far, num_near, rank)
    assert selector.select(corpus, classes).tolist() == expected
    assert torch.allclose(selector.similarity(corpus, classes), torch.tensor(similarity), atol=1e-6, rtol=0)


def test_far_words_come_first_and_each_once():
    corpus, classes = fakes.label_set(200), fakes.label_set(60, seed=1)
    selector = CLIPScopeSelector(50, 50, 50)
    chosen = selector.select(corpus, classes)
    similarity = selector.similarity(corpus, classes)[chosen]
    assert len(set(chosen.tolist())) == 100
    assert similarity[:50].max() < similarity[50:].min()
    assert (similarity.diff() >= 0).all()


def test_equal_words_keep_their_order():
    corpus, classes = fakes.label_set(6), fakes.label_set(3, seed=1)
    corpus.embeddings[:] = corpus.embeddings[:1]
    assert CLIPScopeSelector(2, 2, 1).select(corpus, classes).tolist() == [0, 1, 4, 5]


def test_chunks_do_not_change_the_choice(monkeypatch):
    corpus, classes = fakes.label_set(200), fakes.label_set(10, seed=1)
    whole = CLIPScopeSelector(30, 20, 3).select(corpus, classes)
    monkeypatch.setattr("neglab.negative_selector.clipscope.CHUNK_ELEMENTS", 70)
    assert torch.equal(CLIPScopeSelector(30, 20, 3).select(corpus, classes), whole)


def test_no_words_at_all():
    with pytest.raises(UserError, match=r"negative_selector\.num_near must not both be 0"):
        CLIPScopeSelector(0, 0, 1)


def test_more_than_there_is():
    corpus, classes = fakes.label_set(20), fakes.label_set(3, seed=1)
    with pytest.raises(UserError, match=r"got 15 \+ 6 with 20 words"):
        CLIPScopeSelector(15, 6, 1).select(corpus, classes)
    with pytest.raises(UserError, match="class_rank=50 with 3 classes"):
        CLIPScopeSelector(5, 5, 50).select(corpus, classes)
