"""Metrics over a value that a sweep has varied, such as score.num_groups=1,10,100."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from neglab.plots.sweeps import Line, sweep_curves
from neglab.results.results import HEADINGS, METRICS

DRAWN = dict(zip(METRICS[:3], HEADINGS[:3], strict=True))  # AUROC and both FPR95

Row = dict[str, Any]


class Curves(NamedTuple):
    """One picture.

    Attributes:
        title: the knob, and the ID set.
        picture: a PNG file.
    """

    title: str
    picture: bytes


def curves(rows: Sequence[Row], intervals: Mapping[str, Row]) -> list[Curves]:
    """A picture for each number that was varied while all else stayed; adaptive scores have their own.

    Args:
        rows: of `aggregate`, as they were typed.
        intervals: by the digest of a setting's config, the columns of its mean's intervals, if any.
    """
    found: dict[tuple[str, str, str], dict[str, dict[float, Row]]] = {}
    for row in rows:
        if row["ood_dataset"] == "mean":
            for knob, value, label in numbers(row):
                kind = "" if row.get("stream", "none") == "none" else " (adaptive)"
                block = found.setdefault((knob, str(row.get("id_dataset", "")), kind), {})
                block.setdefault(label, {})[value] = row
    pictures: list[Curves] = []
    for (knob, id_dataset, kind), block in found.items():
        if lines := [_line(label, by_value, intervals) for label, by_value in block.items() if len(by_value) > 1]:
            pictures.append(Curves(f"{knob} on {id_dataset}{kind}", sweep_curves(lines, knob)))
    return pictures


def numbers(row: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """The numeric overrides of a setting: key, value, and the method with all its other overrides."""
    overrides, found = row["overrides"].split(" "), []
    for i, override in enumerate(overrides):
        key, _, text = override.partition("=")
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            others = [*overrides[:i], *overrides[i + 1 :]]
            found.append((key.lstrip("+"), value, " ".join((row["method"], *others))))
    return found


def _line(label: str, by_value: Mapping[float, Row], intervals: Mapping[str, Row]) -> Line:
    values = sorted(by_value)
    means, deviations = (
        {heading: [_percent(by_value[value][f"{name}_{of}"]) for value in values] for name, heading in DRAWN.items()}
        for of in ("mean", "std")
    )
    found = [intervals.get(by_value[value].get("config") or "-", {}) for value in values]
    ends = {
        heading: [(100 * own[f"{name}_low"], 100 * own[f"{name}_high"]) for own in found]
        for name, heading in DRAWN.items()
        if all(f"{name}_low" in own for own in found)
    }
    return Line(label, values, means, deviations, ends)


def _percent(fraction: float | str) -> float:
    """Of a single seed there is no deviation."""
    return 0.0 if fraction == "" else 100 * float(fraction)
