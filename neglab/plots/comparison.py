"""Several methods in one chart: bars with intervals, ROC curves and scores side by side.

A chart is titles and numbers. `pages/chart.html.j2` draws it as HTML and SVG, which follows the reader's colours and
width, shows values under the pointer and needs no library: Plotly's would be 4.5 MB in every report.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neglab import digits
from neglab.plots.detection import RECALL, ScoreAxis, histogram, roc_points

NUM_POINTS = 300  # of a curve: more would not be seen
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # where the axes of a ROC panel have a tick

Scores = Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]]  # by OOD set, of ID images and of its own
Place = tuple[float, str]  # on an axis, 0 to 1, and what stands there


class Bar(NamedTuple):
    """A value in percent, and how far its interval reaches; equal to it where there is none."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """A bar with its name.

    Attributes:
        number: of the method; decides the colour.
        name: of the method.
        bar: its value.
    """

    number: int
    name: str
    bar: Bar


class Line(NamedTuple):
    """A curve in its panel.

    Attributes:
        name: whose it is.
        look: a class of the style sheet.
        points: across and up, 0 to 1.
        filled: down to the axis.
    """

    name: str
    look: str
    points: Sequence[tuple[float, float]]
    filled: bool = False


class Panel(NamedTuple):
    """One picture of a chart: bars, or curves over two axes.

    Attributes:
        title: above it.
        rows: its bars.
        lines: its curves.
        across: label of the axis.
        up: label of the other.
        ticks_across, ticks_up: marks on them.
        guide_across, guide_up: a dotted line, and what it says.
        reading: what is shown under the pointer: the curves' heights, or the area to its right.
        ends: values at the ends of `across`.
        is_logit: values lie on it by their logit.
    """

    title: str
    rows: Sequence[Row] = ()
    lines: Sequence[Line] = ()
    across: str = ""
    up: str = ""
    ticks_across: Sequence[Place] = ()
    ticks_up: Sequence[Place] = ()
    guide_across: Place | None = None
    guide_up: Place | None = None
    reading: Literal["height", "area"] = "height"
    ends: tuple[float, float] = (0.0, 1.0)
    is_logit: bool = False


class Chart(NamedTuple):
    """Panels of one kind, with one legend.

    Attributes:
        title: what is compared.
        legend: name and look of each kind of curve; none where the bars have their names.
        panels: side by side, or below each other on a narrow screen.
        lowest: where bars begin, in percent.
    """

    title: str
    legend: Sequence[tuple[str, str]]
    panels: Sequence[Panel]
    lowest: float = 0.0


def metric_bars(bars: Mapping[str, Mapping[str, Bar]], metric: str) -> Chart:
    """A panel per OOD set with a bar per method.

    Args:
        bars: by method, by OOD set.
        metric: what is shown.
    """
    datasets = dict.fromkeys(name for by_set in bars.values() for name in by_set)
    least = min(bar.low for by_set in bars.values() for bar in by_set.values())
    panels = [
        Panel(name, [Row(i, label, by_set[name]) for i, (label, by_set) in enumerate(bars.items()) if name in by_set])
        for name in datasets
    ]
    lowest = max(0.0, least - 5 - least % 5)
    return Chart(f"{metric}. Bars run from {lowest:g} to 100.", (), panels, lowest)


def roc_panels(scores: Mapping[str, Scores]) -> Chart:
    """A panel per OOD set and a curve per method: ID images accepted against OOD images accepted.

    Args:
        scores: by method.
    """
    ticks = [(share, f"{share:.0%}") for share in SHARES]
    panels = [
        Panel(
            name,
            lines=[
                Line(label, f"s{i}", list(_curve(*by_set[name])))
                for i, (label, by_set) in enumerate(scores.items())
                if name in by_set
            ],
            across="OOD images accepted", up="ID images accepted", ticks_across=ticks, ticks_up=ticks,
            guide_up=(RECALL, f"dotted: {RECALL:.0%} of the ID images"),
        )
        for name in dict.fromkeys(name for by_set in scores.values() for name in by_set)
    ]  # fmt: skip
    return Chart("ROC curves by OOD set", [(label, f"s{i}") for i, label in enumerate(scores)], panels)


def score_panels(scores: Mapping[str, Scores]) -> Chart:
    """A panel per method: the scores of the ID images and of all OOD images, with a threshold.

    Args:
        scores: by method.
    """
    looks = [("ID images", "id"), ("OOD images", "ood")]
    return Chart("Scores of ID and OOD images", looks, [_scores(label, by_set) for label, by_set in scores.items()])


def _scores(label: str, by_set: Scores) -> Panel:
    id_scores, ood_scores = (torch.cat([pair[i] for pair in by_set.values()]) for i in (0, 1))
    axis = ScoreAxis.over([id_scores, ood_scores])
    low, high = float(axis.edges[0]), float(axis.edges[-1])
    shares = [histogram(axis, values) for values in (id_scores, ood_scores)]
    highest = max(float(share.max()) for share in shares)
    lines = [
        Line(name, look, [
            ((float(edge) - low) / (high - low), float(height) / highest)
            for height, *ends in zip(share, axis.edges[:-1], axis.edges[1:], strict=True)
            for edge in ends
        ], filled=True)
        for (name, look), share in zip((("ID images", "id"), ("OOD images", "ood")), shares, strict=True)
    ]  # fmt: skip
    reached = torch.quantile(id_scores.double().cpu(), 1 - RECALL, interpolation="lower")
    place = (float(axis.placed(reached[None])[0]) - low) / (high - low)
    return Panel(
        label,
        lines=lines,
        across="ID score (higher = more in-distribution)",
        up="share of images",
        ticks_across=[((place - low) / (high - low), text) for place, text in axis.ticks()],
        guide_across=(place, f"{RECALL:.0%} of the ID images reach {digits.shown(float(reached))}"),
        reading="area",
        ends=(low, high),
        is_logit=axis.is_logit,
    )


def _curve(id_scores: Float[Tensor, " _"], ood_scores: Float[Tensor, " _"]) -> Iterator[tuple[float, float]]:
    let_in, kept = roc_points(id_scores, ood_scores)
    chosen = torch.linspace(0, len(kept) - 1, min(NUM_POINTS, len(kept))).round().long()
    yield from zip(let_in[chosen].tolist(), kept[chosen].tolist(), strict=True)
