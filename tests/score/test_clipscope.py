from dataclasses import replace

import fakes
import pytest
import torch
from reference import clipscope as reference
from score_fakes import run

from neglab.score.clipscope import CLIPScopeScore
from neglab.types import UserError


def test_the_numbers_of_the_specification():
    """Labels along the axes, so that an image's coordinates are its cosines."""
    bank = fakes.text_bank(2, 2, dim=4)
    bank.id_labels.embeddings[:], bank.negatives.embeddings[:] = torch.eye(4).split(2)
    images, expected = torch.tensor(reference.FIXTURE), torch.tensor(reference.FIXTURE_SCORES, dtype=torch.float64)
    slow, _ = reference.scores(reference.FIXTURE, 2)
    # The specification was computed in float32.
    assert torch.allclose(torch.tensor(slow, dtype=torch.float64), expected, atol=2e-6, rtol=0)
    for size in (1, 3, 4):
        assert torch.allclose(run(CLIPScopeScore(0.01), bank, images, size)[0], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("num_classes", [1, 3, 12])
@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("sizes", [1, [7, 1, 40, 12], 60])
def test_equals_the_loop_over_images(num_classes, temperature, sizes):
    bank, images = fakes.text_bank(num_classes, 23), fakes.unit(60, seed=3)
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    expected, counts = reference.scores(images.double() @ labels.double().T, num_classes, temperature)
    scores, (*_, state) = run(CLIPScopeScore(temperature), bank, images, sizes)
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=1e-5)
    assert state.counts.tolist() == counts


def test_the_second_of_two_equal_images_scores_lower():
    bank, image = fakes.text_bank(), fakes.unit(1, seed=3)
    scores, _ = run(CLIPScopeScore(0.01), bank, image.repeat(20, 1), 20)
    assert (scores.diff() < 0).all()
    # C classes at one each: the prior goes from 1 / C to (1 + n) / (C + n).
    assert scores[19] / scores[0] == pytest.approx((1 / 5) / (20 / 24), abs=1e-6)


def test_mistakes():
    bank = fakes.text_bank()
    bank = replace(bank, negatives=bank.negatives.take(torch.empty(0, dtype=torch.long)))
    with pytest.raises(UserError, match="at least one negative"):
        CLIPScopeScore(0.01).init(bank, None)
