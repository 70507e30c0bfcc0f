import fakes
import pytest
import torch

from neglab.score.mcm import MCMScore
from neglab.types import UserError


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_largest_softmax_share(temperature):
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    expected = [
        ((bank.id_labels.embeddings @ image).double() / temperature).softmax(0).max().item() for image in images
    ]
    scores = MCMScore(temperature)(images, bank)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def test_negatives_play_no_part():
    images = fakes.unit(4, seed=3)
    few, many = fakes.text_bank(num_negatives=1), fakes.text_bank(num_negatives=50)
    assert torch.equal(MCMScore(1.0)(images, few), MCMScore(1.0)(images, many))


def test_the_temperature_must_be_positive():
    with pytest.raises(UserError, match=r"score\.temperature must be positive; got 0"):
        MCMScore(0.0)
