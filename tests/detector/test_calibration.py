import logging

import pytest
import torch
from scipy.stats import beta, binomtest

from neglab.detector.calibration import calibrate, images_needed
from neglab.types import UserError


def scores(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("count", "id_acceptance"), [(20, 0.95), (100, 0.95), (137, 0.9), (1000, 0.5), (40, 0.975)])
def test_the_interval_is_that_of_clopper_and_pearson(count, id_acceptance):
    found = calibrate(scores(count), id_acceptance)
    expected = binomtest(found.num_accepted, count).proportion_ci(0.95, "exact")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)
    # The exact law of the threshold's true acceptance lies within it.
    exact = beta(found.num_accepted, count + 1 - found.num_accepted).ppf([0.025, 0.975])
    assert found.lower == pytest.approx(exact[0], abs=1e-9) and found.upper > exact[1]


def test_the_threshold_is_the_highest_that_accepts_enough():
    values = scores(200)
    found = calibrate(values, 0.95)
    assert found.num_accepted == 190 == int((values >= found.threshold).sum())
    above = values[values > found.threshold].min()
    assert (values >= above).sum() == 189


def test_ties_are_accepted_together():
    values = torch.tensor([0.1, *[0.5] * 30, *[0.9] * 69])
    found = calibrate(values, 0.95)
    assert (found.threshold, found.num_accepted) == (0.5, 99)
    all_tied = calibrate(torch.full((50,), 0.7), 0.95)
    assert (all_tied.num_accepted, all_tied.upper) == (50, 1.0)
    # The lower end is that of the 48 that were asked for.
    assert all_tied.lower == pytest.approx(binomtest(48, 50).proportion_ci(0.95, "exact").low, abs=1e-9)


def test_how_many_images_an_interval_takes():
    needed = images_needed(0.95, 0.95, 0.05)
    assert calibrate(scores(needed), 0.95).lower >= 0.9
    assert 100 < needed < 150


def test_too_few_images_say_how_many_it_takes(caplog):
    with pytest.raises(UserError, match=r"needs at least 20 ID images.* and 127 for .*0\.9 with 95%.*got 19"):
        calibrate(scores(19), 0.95)
    with caplog.at_level(logging.WARNING):
        calibrate(scores(20), 0.95)
    assert "127 would bring the lower end above 90.0%" in caplog.text
    caplog.clear()
    calibrate(scores(127), 0.95)
    assert not caplog.text


@pytest.mark.parametrize("values", [{"id_acceptance": 1.0}, {"id_acceptance": 0.95, "confidence": 0.0}])
def test_shares_out_of_range(values):
    with pytest.raises(UserError, match="must be between 0 and 1"):
        calibrate(scores(100), **values)
