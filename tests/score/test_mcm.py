import math

import fakes
import pytest
import torch
from reference import mcm as reference

from neglab.score.mcm import MCMScore


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_largest_softmax_share(temperature):
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    expected = [reference.score(image, bank.id_labels.embeddings, temperature) for image in images]
    scores = MCMScore(temperature)(images, bank)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_range_runs_from_one_share_to_all():
    """An image at right angles to every class gets 1 / C; one on a class, with a cold softmax, nearly 1."""
    bank = fakes.text_bank(num_classes=3, dim=4)
    bank.id_labels.embeddings[:] = torch.eye(4)[:3]
    scores = MCMScore(0.1)(torch.eye(4)[[3, 0]], bank)
    assert scores.tolist() == pytest.approx([1 / 3, 1 / (1 + 2 * math.exp(-10))], abs=1e-7)
