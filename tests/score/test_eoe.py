import fakes
import pytest
import torch
from reference import eoe as reference
from score_fakes import bank_of_axes

from neglab.score.eoe import FORMS, EOEScore
from neglab.types import UserError

ID = [[0.30, 0.25, 0.20], [0.20, 0.21, 0.22]]
OUTLIERS = [[0.22, 0.10], [0.30, 0.28]]
FIXTURE = torch.cat([torch.tensor(ID), torch.tensor(OUTLIERS)], dim=1)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, [0.1672978, 0.1425465]), (0.01, [0.9928482, -0.2198062])])
def test_the_fixture_of_the_specification(temperature, expected):
    scores = [reference.score(*pair, "eoe", 0.25, temperature) for pair in zip(ID, OUTLIERS, strict=True)]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert EOEScore("eoe", 0.25, temperature)(FIXTURE, bank_of_axes(3, 2)).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [1.0, 0.01])
@pytest.mark.parametrize("num_classes", [1, 5])
def test_equals_the_loop(form, temperature, num_classes):
    """Within 1e-5: the similarities are float32, divided by the temperature."""
    bank, images = fakes.text_bank(num_classes=num_classes), fakes.unit(20, seed=3)
    to_id, to_outliers = ((images @ x.embeddings.T).tolist() for x in (bank.id_labels, bank.negatives))
    expected = [reference.score(*pair, form, 0.25, temperature) for pair in zip(to_id, to_outliers, strict=True)]
    assert EOEScore(form, 0.25, temperature)(images, bank).tolist() == pytest.approx(expected, abs=1e-5)


def test_an_outlier_on_top_gives_max_its_floor():
    above, below = EOEScore("max", 0.25, 0.01)(FIXTURE, bank_of_axes(3, 2))
    assert above > 0.9
    assert below == pytest.approx(1 / 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-30, 1e-4, 1e4, 1e30])
def test_tiny_and_huge_similarities_give_numbers(form, size):
    for images in (FIXTURE * size, FIXTURE * -size):
        assert EOEScore(form, 0.25, 0.01)(images, bank_of_axes(3, 2)).isfinite().all()


def test_outlier_labels_are_needed():
    with pytest.raises(UserError, match=r"EOE compares with outlier labels; got 0 negatives\. Choose another"):
        EOEScore("eoe", 0.25, 1.0).prepare(fakes.text_bank(num_negatives=0))


def test_an_unknown_form():
    with pytest.raises(UserError, match=r"score\.form must be .*; got .*\. \w+ "):
        EOEScore("mcm", 0.25, 1.0)
