import pytest
import torch

from neglab.metrics.intervals import percentile_interval, resampled_metrics, two_sided_p
from neglab.types import generator
from tests.reference.metrics import fpr_id_positive, fpr_ood_positive


def scores(num_id, num_ood, ties, seed):
    draw = generator(seed)
    id_scores, ood_scores = torch.randn(num_id, generator=draw) + 1, torch.randn(num_ood, generator=draw)
    if ties:
        id_scores, ood_scores = ((part * ties).round() / ties for part in (id_scores, ood_scores))
    return id_scores, ood_scores


def slow_auroc(id_scores, ood_scores):
    wins = [(a > b) + 0.5 * (a == b) for a in id_scores for b in ood_scores]
    return sum(wins) / len(wins)


def drawn(values, num_resamples, seed):
    positions = torch.randint(len(values), (num_resamples, len(values)), generator=generator(seed))
    return values[positions].tolist()


@pytest.mark.parametrize(("num_id", "num_ood", "ties"), [(7, 5, 1), (30, 21, 2), (25, 40, None), (1, 1, None)])
def test_every_resample_is_measured_as_the_definitions_say(num_id, num_ood, ties, monkeypatch):
    monkeypatch.setattr("neglab.metrics.intervals.CHUNK_ELEMENTS", 10 * (num_id + num_ood))  # four chunks
    id_scores, ood_scores = scores(num_id, num_ood, ties, seed=num_id)
    found = resampled_metrics(id_scores, ood_scores, 40, id_seed=1, ood_seed=2)
    resamples = list(zip(drawn(id_scores, 40, 1), drawn(ood_scores, 40, 2), strict=True))
    slow = {"auroc": slow_auroc, "fpr95_id_positive": fpr_id_positive, "fpr95_ood_positive": fpr_ood_positive}
    assert found.keys() == slow.keys()
    for name, metric in slow.items():
        assert found[name].tolist() == pytest.approx([metric(*pair) for pair in resamples], abs=1e-12), name


def test_separated_scores_leave_no_doubt():
    found = resampled_metrics(torch.arange(5.0) + 9, torch.arange(4.0), 20, id_seed=1, ood_seed=2)
    assert {name: percentile_interval(values, 0.95) for name, values in found.items()} == {
        "auroc": (1.0, 1.0),
        "fpr95_id_positive": (0.0, 0.0),
        "fpr95_ood_positive": (0.0, 0.0),
    }


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = float(torch.special.ndtr(torch.tensor(1 / 2**0.5)))  # of two normals, a standard deviation apart
    covered = 0
    for seed in range(100):
        id_scores, ood_scores = scores(80, 60, None, seed)
        found = resampled_metrics(id_scores, ood_scores, 200, id_seed=seed, ood_seed=seed + 1000)
        low, high = percentile_interval(found["auroc"], 0.9)
        covered += low <= truth <= high
    assert 80 <= covered <= 97


def test_the_paired_difference_of_one_method_with_itself_is_nothing():
    id_scores, ood_scores = scores(50, 50, None, seed=3)
    first, second = (resampled_metrics(id_scores, ood_scores, 99, id_seed=1, ood_seed=2) for _ in range(2))
    assert two_sided_p(first["auroc"] - second["auroc"]) == 1


def test_p_values():
    assert two_sided_p(torch.full((999,), 0.1)) == 2 / 1000
    assert two_sided_p(torch.tensor([-1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])) == 4 / 10
    assert two_sided_p(torch.tensor([-1.0, 1.0])) == 1


def test_percentiles():
    assert percentile_interval(torch.arange(101.0), 0.9) == (5.0, 95.0)
