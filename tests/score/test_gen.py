import fakes
import pytest
import torch
from reference import id_similarities as reference
from score_fakes import bank_of_axes

from neglab.score.gen import GENScore

FIXTURE = torch.tensor(reference.FIXTURE)


@pytest.mark.parametrize(
    ("temperature", "gamma", "num_top_classes", "expected"),
    [(1.0, 0.1, 100, [-3.0344853, -3.3834529, -1.6733970]), (1.0, 0.1, 2, [-1.6219175, -1.6917264, -0.8602978])],
)
def test_the_fixture_of_the_specification(temperature, gamma, num_top_classes, expected):
    """The last of each three are float64's; the specification gives float32's, -1.6733888 and -0.8602896."""
    assert [reference.gen(row, temperature, gamma, num_top_classes) for row in FIXTURE.tolist()] == pytest.approx(
        expected, abs=1e-6
    )
    assert GENScore(temperature, gamma, num_top_classes)(FIXTURE, bank_of_axes()).tolist() == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(("num_top_classes", "expected"), [(4, -1.6733888), (2, -0.8602896)])
def test_the_fixture_s_last_row_is_that_of_float32(num_top_classes, expected):
    """1 - p cancels: float32 moves the fifth decimal."""
    shares = FIXTURE[2].softmax(dim=0)
    assert -(shares**0.1 * (1 - shares) ** 0.1)[:num_top_classes].sum().item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.01])
def test_equals_the_loop(temperature):
    """Within 1e-5: the similarities are float32, divided by the temperature."""
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    rows = (images @ bank.id_labels.embeddings.T).tolist()
    expected = [reference.gen(row, temperature, 0.5, 3) for row in rows]
    assert GENScore(temperature, 0.5, 3)(images, bank).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("num_top_classes", [1, 100])
def test_a_single_class_is_certain(num_top_classes):
    assert GENScore(0.01, 0.1, num_top_classes)(torch.tensor([[0.3]]), bank_of_axes(1)).tolist() == [0.0]


def test_a_saturated_softmax_keeps_its_order():
    """1 - p is e^-50 and e^-60 here: both round p to 1 in float64, and gamma = 0.1 makes them e^-5 and e^-6."""
    scores = GENScore(0.01, 0.1, 1)(torch.tensor([[0.5, 0.0], [0.6, 0.0]]), bank_of_axes(2))
    assert scores.tolist() == pytest.approx([-0.006737947, -0.002478752], abs=1e-7)
