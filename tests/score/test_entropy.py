import fakes
import pytest
import torch
from reference import id_similarities as reference

from neglab.score.entropy import EntropyScore

FIXTURE = torch.tensor([[3.0, 1.0, 0.5, -1.0], [1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]])


def bank_of_axes(num_classes=4):
    """Labels along the axes: an image's coordinates are its similarities."""
    bank = fakes.text_bank(num_classes=num_classes, dim=num_classes)
    bank.id_labels.embeddings[:] = torch.eye(num_classes)
    return bank


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, [-0.6560543, -1.3862944, -0.0037009])])
def test_the_fixture_of_the_specification(temperature, expected):
    assert [reference.entropy(row, temperature) for row in FIXTURE.tolist()] == pytest.approx(expected, abs=1e-6)
    assert EntropyScore(temperature)(FIXTURE, bank_of_axes()).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_loop(temperature):
    """Within 1e-5: the similarities are float32, divided by the temperature."""
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    rows = (images @ bank.id_labels.embeddings.T).tolist()
    expected = [reference.entropy(row, temperature) for row in rows]
    assert EntropyScore(temperature)(images, bank).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 33])
def test_batches_do_not_change_scores(batch_size):
    """Bit for bit where MKL multiplies, within 1e-6 of the largest score elsewhere."""
    bank, images, score = fakes.text_bank(), fakes.unit(50, seed=3), EntropyScore(0.01)
    whole = score(images, bank)
    tolerance = 0 if torch.backends.mkl.is_available() else 1e-6 * whole.abs().max().item()
    split = torch.cat([score(batch, bank) for batch in images.split(batch_size)])
    assert torch.allclose(split, whole, atol=tolerance, rtol=0)


def test_no_images_no_scores():
    assert EntropyScore(0.01)(fakes.unit(0), fakes.text_bank()).shape == (0,)


@pytest.mark.parametrize("size", [1e-30, 1e-4, 1e4, 1e30])
def test_tiny_and_huge_similarities_give_numbers(size):
    assert EntropyScore(0.01)(FIXTURE * size, bank_of_axes()).isfinite().all()
    assert EntropyScore(0.01)(FIXTURE * -size, bank_of_axes()).isfinite().all()


def test_a_single_class_is_certain():
    assert EntropyScore(1.0)(torch.tensor([[0.3]]), bank_of_axes(1)).tolist() == [0.0]


def test_a_decided_image_scores_higher():
    decided, undecided = EntropyScore(0.01)(torch.tensor([[0.3, 0.1], [0.3, 0.3]]), bank_of_axes(2))
    assert decided > undecided
