"""What a benchmark gives: ratios taken in one run, beside their targets, and proof that all ways agree."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neglab.results.environment import environment

FOLDER = Path(__file__).parents[1] / "outputs" / "benchmarks"


@dataclass(frozen=True)
class Ratio:
    """A measured ratio.

    Attributes:
        name: what is divided by what, such as "plain way / ours".
        value: the ratio.
        target: what was aimed at; None: it stands for comparison only.
        at_most: the target is an upper bound, otherwise a lower one.
    """

    name: str
    value: float
    target: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.target is None or (self.value <= self.target if self.at_most else self.value >= self.target)


@dataclass(frozen=True)
class Figure:
    """One benchmark's outcome.

    Attributes:
        what: the work, with its sizes as measured.
        plain: what the plain way does.
        ratios: the first one is the headline.
        difference: the largest difference between the results of all ways.
        tolerance: what the difference may be.
        details: seconds of each way, sizes, whatever explains the ratios.
    """

    what: str
    plain: str
    ratios: tuple[Ratio, ...]
    difference: float
    tolerance: float
    details: Mapping[str, Any] = field(default_factory=dict)


def seconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall time of each way. They take turns, so that a busy machine slows all of them alike.

    Args:
        ways: each does the whole work once; none is run before it counts.
        repeats: rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def machine() -> dict[str, str]:
    """What the ratios were measured on."""
    found = environment()
    return {name: found[name] for name in ("processors", "gpus", "threads", "torch", "python")}


def report(name: str, measure: Callable[[], Figure]) -> None:
    """Measure, print the figure as JSON, and keep it in outputs/benchmarks/NAME.json.

    Raises:
        SystemExit: the ways disagree, so that their times mean nothing.
    """
    figure = measure()
    text = json.dumps({"benchmark": name, **asdict(figure), "machine": machine()}, indent=1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    print(text)
    if not figure.difference <= figure.tolerance:
        raise SystemExit(f"{name}: the ways differ by {figure.difference}, more than {figure.tolerance}")
