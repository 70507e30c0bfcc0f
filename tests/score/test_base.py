"""What holds for every score that is a pure function of image and text bank."""

import fakes
import pytest
import torch

from neglab.score.maxlogit import MaxLogitScore
from neglab.score.mcm import MCMScore
from neglab.score.neglabel import NegLabelScore

SCORES = [MCMScore(1.0), MCMScore(0.01), MaxLogitScore(), NegLabelScore(4, 0.01, 0), NegLabelScore(1, 0.1, 0)]


@pytest.fixture(params=SCORES, ids=lambda score: type(score).__name__)
def score(request):
    return request.param


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 33])
def test_batches_do_not_change_scores(score, batch_size):
    """Bit for bit where MKL multiplies, within 1e-6 of the largest score elsewhere."""
    bank, images = fakes.text_bank(num_negatives=100), fakes.unit(50, seed=3)
    state, scores = score.init(bank, fakes.NoEncoder()), []
    for batch in images.split(batch_size):
        (batch_scores, _), state = score.step(state, batch)
        scores.append(batch_scores)
    whole = score(images, bank)
    tolerance = 0 if torch.backends.mkl.is_available() else 1e-6 * whole.abs().max().item()
    assert torch.allclose(torch.cat(scores), whole, atol=tolerance, rtol=0)


def test_the_order_of_images_does_not_matter(score):
    bank, images = fakes.text_bank(), fakes.unit(50, seed=3)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(score(images[order], bank), score(images, bank)[order], atol=1e-6, rtol=1e-6)


def test_images_near_a_class_score_higher(score):
    bank = fakes.text_bank()
    on_classes, on_negatives = bank.id_labels.embeddings, bank.negatives.embeddings
    assert score(on_classes, bank).mean() > score(on_negatives, bank).mean()


def test_no_images_no_scores(score):
    assert score(fakes.unit(0), fakes.text_bank()).shape == (0,)


def test_the_global_random_state_and_the_bank_are_untouched(score):
    bank, before = fakes.text_bank(), torch.random.get_rng_state()
    score(fakes.unit(3), bank)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(bank.negatives.embeddings, fakes.text_bank().negatives.embeddings)
    assert torch.equal(bank.id_labels.embeddings, fakes.text_bank().id_labels.embeddings)
