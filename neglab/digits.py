"""Numbers between 0 and 1 as people read them: where they pile up at an end, with the digits that tell them apart."""

import math

LEAST, MOST = 4, 12  # decimals
KEPT = 3  # significant digits of the distance to the nearer end


def shown(value: float) -> str:
    """A score or threshold: 0.7312, but 0.9999731; what lies outside of [0, 1] with four decimals."""
    return f"{value:.{_decimals(value)}f}"


def percent(share: float) -> str:
    """A share in percent: 73.1%, but 99.9973%."""
    return f"{100 * share:.{max(1, _decimals(share) - 3)}f}%"


def _decimals(value: float) -> int:
    distance = min(value, 1 - value)
    if not 0 < distance < 1:
        return LEAST
    return min(MOST, max(LEAST, KEPT - 1 - math.floor(math.log10(distance))))
