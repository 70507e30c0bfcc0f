import fakes
import pytest
import torch
from reference import eoe as reference

from neglab.score.eoe import FORMS, EOEScore
from neglab.types import UserError

ID = [[0.30, 0.25, 0.20], [0.20, 0.21, 0.22]]
OUTLIERS = [[0.22, 0.10], [0.30, 0.28]]
FIXTURE = torch.cat([torch.tensor(ID), torch.tensor(OUTLIERS)], dim=1)


def bank_of_axes():
    """Three ID labels and two outliers along the axes: an image's coordinates are its similarities."""
    bank = fakes.text_bank(num_classes=3, num_negatives=2, dim=5)
    bank.id_labels.embeddings[:], bank.negatives.embeddings[:] = torch.eye(5)[:3], torch.eye(5)[3:]
    return bank


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, [0.1672978, 0.1425465]), (0.01, [0.9928482, -0.2198062])])
def test_the_fixture_of_the_specification(temperature, expected):
    scores = [reference.score(*pair, "eoe", 0.25, temperature) for pair in zip(ID, OUTLIERS, strict=True)]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert EOEScore("eoe", 0.25, temperature)(FIXTURE, bank_of_axes()).tolist() == pytest.approx(expected, abs=1e-6)


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
    above, below = EOEScore("max", 0.25, 0.01)(FIXTURE, bank_of_axes())
    assert above > 0.9
    assert below == pytest.approx(1 / 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-30, 1e-4, 1e4, 1e30])
def test_tiny_and_huge_similarities_give_numbers(form, size):
    for images in (FIXTURE * size, FIXTURE * -size):
        assert EOEScore(form, 0.25, 0.01)(images, bank_of_axes()).isfinite().all()


@pytest.mark.parametrize("batch_size", [1, 7, 16, 33])
@pytest.mark.parametrize("form", FORMS)
def test_batches_do_not_change_scores(form, batch_size):
    """Bit for bit where MKL multiplies, within 1e-6 of the largest score elsewhere."""
    bank, images, score = fakes.text_bank(), fakes.unit(50, seed=3), EOEScore(form, 0.25, 1.0)
    whole = score(images, bank)
    tolerance = 0 if torch.backends.mkl.is_available() else 1e-6 * whole.abs().max().item()
    split = torch.cat([score(batch, bank) for batch in images.split(batch_size)])
    assert torch.allclose(split, whole, atol=tolerance, rtol=0)


def test_chunks_do_not_change_scores(monkeypatch):
    bank, images = fakes.text_bank(), fakes.unit(50, seed=3)
    whole = EOEScore("eoe", 0.25, 1.0)(images, bank)
    monkeypatch.setattr("neglab.score.eoe.CHUNK_ELEMENTS", 1)  # one block of rows at a time
    assert torch.allclose(EOEScore("eoe", 0.25, 1.0)(images, bank), whole, atol=1e-6, rtol=0)


def test_no_images_no_scores():
    assert EOEScore("eoe", 0.25, 1.0)(fakes.unit(0), fakes.text_bank()).shape == (0,)


def test_outlier_labels_are_needed():
    with pytest.raises(UserError, match=r"EOE compares with outlier labels; got 0 negatives\. Choose another"):
        EOEScore("eoe", 0.25, 1.0).prepare(fakes.text_bank(num_negatives=0))


def test_an_unknown_form():
    with pytest.raises(UserError, match=r"score\.form must be .*; got .*\. \w+ "):
        EOEScore("mcm", 0.25, 1.0)
