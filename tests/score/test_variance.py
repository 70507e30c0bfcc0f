import fakes
import pytest
import torch
from reference import id_similarities as reference
from score_fakes import bank_of_axes

from neglab.score.variance import VarianceScore

FIXTURE = torch.tensor(reference.FIXTURE)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, [0.1053716, 0.0, 0.1873150])])
def test_the_fixture_of_the_specification(temperature, expected):
    assert [reference.variance(row, temperature) for row in FIXTURE.tolist()] == pytest.approx(expected, abs=1e-6)
    assert VarianceScore(temperature)(FIXTURE, bank_of_axes()).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_loop(temperature):
    """Within 1e-5: the similarities are float32, divided by the temperature."""
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    rows = (images @ bank.id_labels.embeddings.T).tolist()
    expected = [reference.variance(row, temperature) for row in rows]
    assert VarianceScore(temperature)(images, bank).tolist() == pytest.approx(expected, abs=1e-5)


def test_a_single_class_has_none():
    assert VarianceScore(1.0)(torch.tensor([[0.3]]), bank_of_axes(1)).tolist() == [0.0]


def test_certainty_reaches_the_bound():
    assert VarianceScore(0.01)(10 * torch.eye(4), bank_of_axes()).tolist() == pytest.approx([3 / 16] * 4, abs=1e-12)
