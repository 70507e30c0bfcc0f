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


def test_more_words_than_there_are():
    with pytest.raises(UserError, match="Between 1 and 10"):
        RandomSelector(None, 11, 0).select(fakes.label_set(10), fakes.label_set(3))


def test_one_of_fraction_and_number():
    with pytest.raises(UserError, match="Exactly one"):
        RandomSelector(0.1, 11, 0)
