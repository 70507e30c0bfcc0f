import fakes
import pytest
import torch
from reference import id_similarities as reference
from score_fakes import bank_of_axes

from neglab.score.entropy import EntropyScore

FIXTURE = torch.tensor(reference.FIXTURE)


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


def test_a_single_class_is_certain():
    assert EntropyScore(1.0)(torch.tensor([[0.3]]), bank_of_axes(1)).tolist() == [0.0]


def test_a_decided_image_scores_higher():
    decided, undecided = EntropyScore(0.01)(torch.tensor([[0.3, 0.1], [0.3, 0.3]]), bank_of_axes(2))
    assert decided > undecided
