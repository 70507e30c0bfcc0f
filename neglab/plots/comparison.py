"""Several methods in one picture: bars with intervals, ROC curves and scores side by side."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from neglab.plots.detection import ID_COLOUR, OOD_COLOURS, ScoreAxis, as_png, draw_scores, roc_points

COLOURS = (ID_COLOUR, *OOD_COLOURS)
COLUMNS = 3
NUM_POINTS = 500  # of a curve: more would not be seen
WRAPPED = 44  # of a panel's title
LONGEST = 90  # characters of a label

Scores = Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]]  # by OOD set, of ID images and of its own


class Bar(NamedTuple):
    """A value in percent, and how far its interval reaches; equal to it where there is none."""

    value: float
    low: float
    high: float


def metric_bars(bars: Mapping[str, Mapping[str, Bar]], metric: str) -> bytes:
    """A PNG file: for each OOD set a bar per method, with its interval.

    Args:
        bars: by method, by OOD set.
        metric: what is shown.
    """
    datasets = list(dict.fromkeys(name for by_set in bars.values() for name in by_set))
    figure = Figure(figsize=(max(6.0, 1.1 * len(datasets) + 1.5), 3.2 + 0.2 * len(bars)), layout="constrained")
    axes, width = figure.subplots(), 0.8 / len(bars)
    for i, (label, by_set) in enumerate(bars.items()):
        shown = [(datasets.index(name), bar) for name, bar in by_set.items()]
        places = [place + (i - (len(bars) - 1) / 2) * width for place, _ in shown]
        values = [bar.value for _, bar in shown]
        reach = [[bar.value - bar.low for _, bar in shown], [bar.high - bar.value for _, bar in shown]]
        look = {"color": COLOURS[i % len(COLOURS)], "alpha": 0.75, "hatch": "" if i < len(COLOURS) else "//"}
        axes.bar(places, values, width, yerr=reach, label=_short(label), error_kw={"linewidth": 0.9}, **look)
    lowest = min(bar.low for by_set in bars.values() for bar in by_set.values())
    axes.set(ylabel=metric, ylim=(max(0.0, lowest - 5 - lowest % 5), 100))
    axes.set_xticks(range(len(datasets)), datasets, rotation=20 if len(datasets) > 4 else 0, fontsize=8)
    _legend(figure)
    return as_png(figure)


def roc_panels(scores: Mapping[str, Scores]) -> bytes:
    """A PNG file with a panel per OOD set and a curve per method: ID images kept against OOD images let in.

    Args:
        scores: by method.
    """
    datasets = list(dict.fromkeys(name for by_set in scores.values() for name in by_set))
    figure, panels = _panels(len(datasets), 2.9, 0.2 * len(scores))
    for panel, name in zip(panels, datasets, strict=False):
        for i, by_set in enumerate(scores.values()):
            let_in, kept = roc_points(*by_set[name])
            chosen = torch.linspace(0, len(kept) - 1, min(NUM_POINTS, len(kept))).round().long()
            style = "-" if i < len(COLOURS) else "--"
            panel.plot(let_in[chosen], kept[chosen], style, color=COLOURS[i % len(COLOURS)], linewidth=1.2)
        panel.axhline(0.95, color="0.6", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlim=(0, 1), ylim=(0, 1.005), xlabel="OOD images accepted", ylabel="ID images accepted")
        panel.tick_params(labelsize=7)
    for i, label in enumerate(scores):
        panels[0].plot([], [], "-" if i < len(COLOURS) else "--", color=COLOURS[i % len(COLOURS)], label=_short(label))
    _legend(figure)
    return as_png(figure)


def score_panels(scores: Mapping[str, Scores]) -> bytes:
    """A PNG file with a panel per method: the scores of the ID images and of all OOD images, with a threshold.

    Args:
        scores: by method.
    """
    figure, panels = _panels(len(scores), 2.6, 0.0)
    for panel, (label, by_set) in zip(panels, scores.items(), strict=False):
        id_scores = torch.cat([pair[0] for pair in by_set.values()])
        ood_scores = torch.cat([pair[1] for pair in by_set.values()])
        draw_scores(panel, ScoreAxis.over([id_scores, ood_scores]), id_scores, ood_scores, "OOD")
        panel.set_title(fill(_short(label), WRAPPED), fontsize=8, parse_math=False)
    return as_png(figure)


def _panels(count: int, height: float, more: float) -> tuple[Figure, Sequence[Axes]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns, height * rows + more), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels


def _legend(figure: Figure) -> None:
    for text in figure.legend(loc="outside lower center", frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 3]}..."
