"""Finds a threshold on ID images: the score that accepts the wanted share of them, and how certain that share is."""

import logging
import math
from dataclasses import dataclass

from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from neglab.types import UserError

logger = logging.getLogger(__name__)

SLACK = 1e-9  # 0.95 * 20 is 19, whatever the floats say


@dataclass(frozen=True)
class Calibration:
    """What a threshold was found on. An image is accepted as ID where its score is at least the threshold.

    Attributes:
        threshold: in units of the ID score.
        num_images: N, ID images.
        num_accepted: of these; more than asked for where scores tie with the threshold.
        id_acceptance: the share asked for.
        lower, upper: interval of the share of all ID images that is accepted.
        confidence: chance that such an interval holds the true share.
    """

    threshold: float
    num_images: int
    num_accepted: int
    id_acceptance: float
    lower: float
    upper: float
    confidence: float

    def describe(self) -> str:
        """For people, in a few words."""
        return (
            f"calibrated: it accepts {self.num_accepted} of {self.num_images} ID images, and {self.lower:.1%} to "
            f"{self.upper:.1%} of all ID images with {self.confidence:.0%} confidence"
        )


def calibrate(
    scores: Float[Tensor, " N"], id_acceptance: float, confidence: float = 0.95, margin: float = 0.05
) -> Calibration:
    """The highest threshold that accepts at least the wanted share of the ID images.

    The interval assumes of the scores only that these images and later ones are drawn alike: the same picture twice, or
    pictures that are not of the ID classes, break it.

    Args:
        scores: of N ID images that the method has not learned from.
        id_acceptance: the share to accept, in (0, 1).
        confidence: of the interval.
        margin: by how much the interval may reach below `id_acceptance` before a warning says what it takes.

    Raises:
        UserError: a share out of range, or too few images for one of them to lie below the threshold.

    Source: the interval is Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
        the binomial", 1934. Its lower end is also that of the exact law of an order statistic, a Beta distribution
        (Wilks, "Determination of sample sizes for setting tolerance limits", 1941); ties only raise acceptance.
    """
    count = len(scores)
    check_count(count, id_acceptance, confidence, margin)
    wanted = _num_wanted(count, id_acceptance)
    threshold = float(scores.double().sort(descending=True).values[wanted - 1])
    accepted = int((scores.double() >= threshold).sum())
    doubt = (1 - confidence) / 2
    lower = _chance(wanted, count, doubt)
    upper = 1.0 if accepted == count else _chance(accepted + 1, count, 1 - doubt)
    if lower < id_acceptance - margin:
        logger.warning(
            "%d ID images leave the true share of accepted ID images between %.1f%% and %.1f%%; %d would bring the "
            "lower end above %.1f%%",
            count,
            100 * lower,
            100 * upper,
            images_needed(id_acceptance, confidence, margin),
            100 * (id_acceptance - margin),
        )
    return Calibration(threshold, count, accepted, id_acceptance, lower, upper, confidence)


def origin(calibration: Calibration | None, threshold: float | None, neutral: float | None) -> str:
    """Where a detector's threshold comes from, in a few words."""
    if calibration is not None:
        return calibration.describe()
    if threshold is not None:
        return "set by hand"
    if neutral is None:
        return "none: this score has no neutral value; calibrate it on ID images, or set a threshold"
    return "the score's neutral value, as much ID as OOD; not calibrated on ID images"


def check_count(count: int, id_acceptance: float, confidence: float, margin: float) -> None:
    """Raise a UserError where so many ID images are too few for one of them to lie below the threshold."""
    check_shares(id_acceptance=id_acceptance, confidence=confidence, margin=margin)
    least = math.ceil(1 / (1 - id_acceptance) - SLACK)
    if count < least:
        raise UserError(
            f"id_acceptance={id_acceptance} needs at least {least} ID images, so that one may lie below the threshold, "
            f"and {images_needed(id_acceptance, confidence, margin)} for a true share above "
            f"{max(0.0, id_acceptance - margin):.4g} with {confidence:.0%} confidence; got {count}. Give more ID "
            "images, or set the threshold yourself."
        )


def check_shares(**shares: object) -> None:
    """Raise a UserError where one of these is no number between 0 and 1."""
    for name, value in shares.items():
        if not isinstance(value, (int, float)) or not 0 < value < 1:
            raise UserError(f"{name} must be between 0 and 1; got {value}.")


def images_needed(id_acceptance: float, confidence: float, margin: float) -> int:
    """So many ID images are enough for an interval that reaches no further than the margin below the wanted share."""

    def enough(count: int) -> bool:
        target = max(0.0, id_acceptance - margin)
        return target == 0 or _tail(_num_wanted(count, id_acceptance), count, target) <= (1 - confidence) / 2

    most = 1
    while not enough(most):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (most + least) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most


def _num_wanted(count: int, id_acceptance: float) -> int:
    return max(1, math.ceil(id_acceptance * count - SLACK))


def _chance(successes: int, count: int, tail: float) -> float:
    """The chance of a success at which at least so many of `count` succeed with probability `tail`."""
    return float(beta.ppf(tail, successes, count - successes + 1))


def _tail(successes: int, count: int, chance: float) -> float:
    """P(at least so many successes of `count`), for a chance strictly between 0 and 1."""
    return float(beta.cdf(chance, successes, count - successes + 1))
