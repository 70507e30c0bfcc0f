import numpy as np
import pytest
import torch
from reference import metrics as reference
from sklearn.metrics import average_precision_score, roc_auc_score

from neglab.metrics import AUROC, DetectionMetrics, IDAccuracy
from neglab.types import UserError

ID = [9, 8, 8, 7, 6, 6, 5, 4, 3, 2]
OOD = [7, 6, 5, 5, 4, 3, 2, 1, 1, 0]


def compute(id_scores, ood_scores, batch_size=1000):
    scores = torch.cat([torch.as_tensor(id_scores), torch.as_tensor(ood_scores)])
    is_id = torch.arange(len(scores)) < len(id_scores)
    metrics, alone = DetectionMetrics(), AUROC()
    for part, kind in zip(scores.split(batch_size), is_id.split(batch_size), strict=True):
        metrics.update(part.double(), kind)
        alone.update(part.double(), kind)
    found = metrics.compute()
    assert alone.compute() == found["auroc"]
    return {name: float(value) for name, value in found.items()}


def test_the_specifications_numbers():
    result = compute(ID, OOD)
    assert result == pytest.approx(
        {
            "auroc": 0.77,
            "aupr_in": 0.7739983546,
            "aupr_out": 0.7702521008,
            "fpr95_id_positive": 0.6,
            "fpr95_ood_positive": 0.7,
        },
        abs=1e-9,
    )


@pytest.mark.parametrize("low, high, digits", [(0, 1, 9), (-3, 3, 9), (20, 90, 9), (0, 1, 1), (0.99999, 1, 9)])
@pytest.mark.parametrize("batch_size", [1000, 17])
def test_equals_scikit_learn(low, high, digits, batch_size):
    draw = np.random.default_rng(0)
    id_scores = np.round(draw.uniform(low, high, 120) + 0.2 * (high - low), digits)
    ood_scores = np.round(draw.uniform(low, high, 80), digits)
    result = compute(id_scores, ood_scores, batch_size)
    scores, is_id = np.concatenate([id_scores, ood_scores]), np.arange(200) < 120
    assert result["auroc"] == pytest.approx(roc_auc_score(is_id, scores), abs=1e-12)
    assert result["aupr_in"] == pytest.approx(average_precision_score(is_id, scores), abs=1e-12)
    assert result["aupr_out"] == pytest.approx(average_precision_score(~is_id, -scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_fpr_equals_every_threshold(seed):
    draw = np.random.default_rng(seed)
    id_scores = draw.integers(3, 3 + draw.integers(1, 40), draw.integers(1, 60)).tolist()
    ood_scores = draw.integers(0, 30, draw.integers(1, 60)).tolist()
    result = compute(id_scores, ood_scores)
    assert result["fpr95_id_positive"] == pytest.approx(reference.fpr_id_positive(id_scores, ood_scores), abs=1e-12)
    assert result["fpr95_ood_positive"] == pytest.approx(reference.fpr_ood_positive(id_scores, ood_scores), abs=1e-12)


def test_half_precision_neighbours_stay_apart():
    scores = torch.tensor([1.0 - 1e-12, 1.0 - 2e-12], dtype=torch.float64)
    metrics = DetectionMetrics()
    metrics.update(scores, torch.tensor([True, False]))
    assert float(metrics.compute()["auroc"]) == 1.0


def test_mistakes():
    with pytest.raises(UserError, match="Scores must not be NaN; 1 of 2"):
        compute([1.0], [float("nan")])
    with pytest.raises(UserError, match="got 0 ID and 1 OOD"):
        compute([], [1.0])


def test_id_accuracy():
    metric = IDAccuracy()
    metric.update(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 0]))
    metric.update(torch.tensor([4]), torch.tensor([4]))
    assert float(metric.compute()) == 0.75
