import fakes
import pytest
import torch
from reference import id_similarities as reference
from score_fakes import bank_of_axes

from neglab.score.energy import EnergyScore

FIXTURE = torch.tensor(reference.FIXTURE)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, [3.2116668, 2.3862944, 9.0003700]), (0.5, [3.0125360, 1.6931472, 9.0])]
)
def test_the_fixture_of_the_specification(temperature, expected):
    assert [reference.energy(row, temperature) for row in FIXTURE.tolist()] == pytest.approx(expected, abs=1e-6)
    assert EnergyScore(temperature)(FIXTURE, bank_of_axes()).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_loop(temperature):
    """Within 1e-6: the similarities are float32, divided by the temperature."""
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    rows = (images @ bank.id_labels.embeddings.T).tolist()
    expected = [reference.energy(row, temperature) for row in rows]
    assert EnergyScore(temperature)(images, bank).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_single_class_is_the_similarity():
    images = torch.tensor([[0.3], [-0.2]])
    assert EnergyScore(0.01)(images, bank_of_axes(1)).tolist() == pytest.approx([0.3, -0.2], abs=1e-7)


def test_a_cold_temperature_is_the_largest_similarity():
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    largest = (images @ bank.id_labels.embeddings.T).amax(dim=1).double()
    assert torch.allclose(EnergyScore(1e-8)(images, bank), largest, atol=1e-7, rtol=0)
