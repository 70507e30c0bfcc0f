import math

import fakes
import pytest
import torch

from neglab.metrics import explanation
from neglab.metrics.explanation import (
    class_share,
    error_rates,
    firing_negatives,
    label_shares,
    predicted_fpr,
    theory_curve,
)


@pytest.fixture
def bank():
    return fakes.text_bank(5, 23)


def softmax(image, bank, temperature):
    """One image's shares, in plain Python."""
    labels = [*bank.id_labels.embeddings, *bank.negatives.embeddings]
    powers = [math.exp(float(image.double() @ label.double()) / temperature) for label in labels]
    return [power / sum(powers) for power in powers]


def test_shares_are_the_softmax_over_all_labels(bank, monkeypatch):
    monkeypatch.setattr(explanation, "CHUNK_ELEMENTS", 60)  # two images at a time
    images = fakes.unit(7, seed=3)
    found = label_shares(images, bank, 0.1, 3)
    for i, image in enumerate(images):
        shares = softmax(image, bank, 0.1)
        classes = sorted(range(5), key=lambda c: -shares[c])[:3]
        negatives = sorted(range(23), key=lambda j: -shares[5 + j])[:3]
        assert found.classes[i].tolist() == classes
        assert found.negatives[i].tolist() == negatives
        assert found.class_shares[i].tolist() == pytest.approx([shares[c] for c in classes], abs=1e-6)
        assert found.negative_shares[i].tolist() == pytest.approx([shares[5 + j] for j in negatives], abs=1e-6)
        assert float(found.id_share[i]) == pytest.approx(sum(shares[:5]), abs=1e-6)
    classes = torch.tensor([4, 0, 2, 2, 1, 3, 0])
    expected = [softmax(image, bank, 0.1)[c] for image, c in zip(images, classes.tolist(), strict=True)]
    assert class_share(images, classes, bank, 0.1).tolist() == pytest.approx(expected, abs=1e-6)


def test_more_labels_than_there_are_gives_all(bank):
    found = label_shares(fakes.unit(2, seed=3), bank, 0.1, 100)
    assert found.classes.shape == (2, 5) and found.negatives.shape == (2, 23)
    assert torch.allclose(found.class_shares.sum(1) + found.negative_shares.sum(1), torch.ones(2), atol=1e-5)


def test_the_negative_that_wins_is_named(bank):
    images = bank.negatives.embeddings[[4, 4, 9, 9]].clone()
    images[3] = bank.id_labels.embeddings[0]
    found = firing_negatives(images, bank, 0.01)
    assert found.wins.nonzero().flatten().tolist() == [4, 9]
    assert found.wins[[4, 9]].tolist() == [0.5, 0.25]
    assert int(found.mean_share.argmax()) == 4


def test_an_error_is_either_of_one_negative_or_of_all_together(bank):
    images = fakes.unit(200, seed=5)
    shares, thresholds = label_shares(images, bank, 0.2, 1), torch.tensor([0.1, 0.3, 0.5])
    rates = error_rates(shares, thresholds)
    for t, threshold in enumerate(thresholds.tolist()):
        rejected = [i for i in range(200) if float(shares.id_share[i]) < threshold]
        one = [i for i in rejected if shares.negative_shares[i, 0] > shares.class_shares[i, 0]]
        assert float(rates.max_ood[t]) == pytest.approx(len(one) / 200)
        assert float(rates.sum_ood[t]) == pytest.approx((len(rejected) - len(one)) / 200)
    assert rates.max_ood[0] > 0 and rates.sum_ood[2] > 0


def test_equation_7():
    """Against the paper's form with erf, and falling as M grows (Eq. 8)."""
    p1, p2, recall = 0.01, 0.03, 0.95
    inverse = float(torch.erfinv(torch.tensor(2 * recall - 1, dtype=torch.float64)))
    for size in (10, 100, 1000):
        first = math.sqrt(p1 * (1 - p1) / (p2 * (1 - p2))) * inverse
        second = math.sqrt(size) * (p1 - p2) / math.sqrt(2 * p2 * (1 - p2))
        assert predicted_fpr(p1, p2, size, recall) == pytest.approx(0.5 + 0.5 * math.erf(first + second), abs=1e-12)
    falling = [predicted_fpr(p1, p2, size, recall) for size in (10, 100, 1000)]
    assert falling == sorted(falling, reverse=True)


def test_the_measured_curve_counts_matches(bank):
    id_images, ood_images = fakes.unit(50, seed=6), fakes.unit(60, seed=7)
    curve = theory_curve(id_images, ood_images, bank, [5, 23], 0.1, recall=0.95, seed=0)
    counts = [((images @ bank.negatives.embeddings.T) >= 0.1).sum(dim=1).tolist() for images in (id_images, ood_images)]
    kept = sorted(counts[0])[math.ceil(0.95 * 50) - 1]
    assert curve.measured[1] == pytest.approx(sum(count <= kept for count in counts[1]) / 60)
    assert curve.id_match == pytest.approx(sum(counts[0]) / 50 / 23)
    assert theory_curve(id_images, ood_images, bank, [23], None, 0.95, 0).id_match == pytest.approx(0.01, abs=0.01)
