"""Pictures of sweeps: metrics over the value that was swept."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neglab.plots.detection import ID_COLOUR, OOD_COLOURS, as_png

COLOURS = (ID_COLOUR, *OOD_COLOURS)
LOGARITHMIC_FROM = 100  # ratio of the largest value to the smallest: two decades
MAX_TICKS = 8  # more values than these would run into each other on the axis


class Line(NamedTuple):
    """One setting over the values.

    Attributes:
        label: names it.
        values: of the knob, ascending.
        means: by metric, over the seeds, at each value.
        deviations: by metric, over the seeds; 0 where there is one.
        intervals: by metric, at each value the ends of its interval over the images; empty: there are none.
    """

    label: str
    values: Sequence[float]
    means: Mapping[str, Sequence[float]]
    deviations: Mapping[str, Sequence[float]]
    intervals: Mapping[str, Sequence[tuple[float, float]]] = {}


def sweep_curves(lines: Sequence[Line], knob: str) -> bytes:
    """A PNG file with one panel per metric, one line per setting: mean, standard deviation as bars, interval as a band.

    Args:
        lines: with the same metrics.
        knob: what was swept.
    """
    metrics = list(lines[0].means)
    figure = Figure(figsize=(3.8 * len(metrics), 3.2 + 0.2 * len(lines)), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False).flatten()
    values = sorted({value for line in lines for value in line.values})
    for panel, metric in zip(panels, metrics, strict=True):
        for i, line in enumerate(lines):
            look = {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < len(COLOURS) else "--"}
            label = line.label if panel is panels[0] else None
            bars = line.deviations[metric]
            panel.errorbar(line.values, line.means[metric], bars, label=label, marker="o", capsize=3, **look)
            if ends := line.intervals.get(metric):
                low, high = zip(*ends, strict=True)
                panel.fill_between(line.values, low, high, color=look["color"], alpha=0.15, linewidth=0)
        panel.set(title=metric, xlabel=knob)
        _mark(panel, values)
    legend = figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return as_png(figure)


def _mark(panel: Axes, values: Sequence[float]) -> None:
    """The swept values on the axis, logarithmic where they lie far apart."""
    if values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC_FROM:
        panel.set_xscale("log")
    if len(values) <= MAX_TICKS:
        panel.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
        panel.set_xticks([], minor=True)
