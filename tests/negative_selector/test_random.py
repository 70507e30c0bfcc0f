import fakes
import pytest
import torch

from neglab.negative_selector.random import RandomSelector
from neglab.types import UserError


def test_the_seed_decides_and_nothing_else():
    corpus, classes = fakes.label_set(100), fakes.label_set(3, seed=1)
    before = torch.random.get_rng_state()
    first, again, other = (RandomSelector(0.15, None, seed).select(corpus, classes) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(first.tolist())) == 15
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_draw_is_as_large_as_neglabels_selection():
    """15% of 57,189 nouns and of 12,811 adjectives, each rounded down, not 15% of 70,000."""
    corpus = fakes.label_set(70_000, dim=2, num_adjectives=12_811)
    classes = fakes.label_set(3, dim=2)
    assert len(RandomSelector(0.15, None, 0).select(corpus, classes)) == 8578 + 1921
    assert len(RandomSelector({"noun": 0.15, "adjective": 0.1}, None, 0).select(corpus, classes)) == 8578 + 1281


def test_the_order_is_that_of_the_draw():
    corpus, classes = fakes.label_set(10_000, dim=2), fakes.label_set(3, dim=2)
    assert RandomSelector(None, 5, 0).select(corpus, classes).tolist() == [6044, 2890, 9399, 1917, 4919]


def test_more_words_than_there_are():
    with pytest.raises(UserError, match="Between 1 and 10"):
        RandomSelector(None, 11, 0).select(fakes.label_set(10), fakes.label_set(3))


@pytest.mark.parametrize(("fraction", "num_labels"), [(0.1, 11), (None, None)])
def test_one_of_fraction_and_number(fraction, num_labels):
    with pytest.raises(UserError, match="Exactly one"):
        RandomSelector(fraction, num_labels, 0)
