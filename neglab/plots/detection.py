"""Score histograms and ROC curves as PNG files."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Okabe and Ito's palette: told apart by colour-blind readers.
ID_COLOUR = "#0072B2"
OOD_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
NUM_BINS = 40
RECALL = 0.95  # of the ID images, where a threshold is marked
NEAREST = 1e-12  # to 0 and 1 that a share is drawn
TICKS = (1e-9, 1e-6, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.999999, 1 - 1e-9)
MOST_TICKS = 7
TITLE_CHARACTERS, TITLE_LINE = 12, 0.17  # characters to an inch of width; inches of height to a line
# Inches around and between panels. A layout engine would measure every text twice and take a fourth of a picture's
# time, and a sweep draws these in every job.
HISTOGRAMS = {"left": 0.25, "right": 0.25, "bottom": 0.45, "top": 0.7, "wspace": 0.35, "hspace": 0.5}
CURVES = {"left": 0.6, "right": 0.15, "bottom": 0.5, "top": 0.3, "wspace": 0.0, "hspace": 0.0}
METADATA = {"Software": None}  # no version in the file: equal runs give equal bytes


def score_histograms(
    scores: Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]], title: str, path: Path
) -> None:
    """One panel per OOD set: its scores over those of the ID images; ID lies to the right.

    A line marks the score that 95% of the ID images reach. Scores in [0, 1] are drawn over their logit, since they pile
    up at the ends.

    Args:
        scores: by OOD set, those of the ID images and of its own.
        title: of the figure.
        path: of the PNG file.
    """
    columns, rows = min(3, len(scores)), -(-len(scores) // 3)
    figure = Figure(figsize=(4.2 * columns, 2.6 * rows + 0.4))
    axis = ScoreAxis.over([part for pair in scores.values() for part in pair])
    for i, (name, (id_scores, ood_scores)) in enumerate(scores.items()):
        panel = figure.add_subplot(rows, columns, i + 1)
        draw_scores(panel, axis, id_scores, ood_scores)
        panel.set_title(name, fontsize=8)
    give_title(figure, title, HISTOGRAMS, rows, columns)
    height, drawn = figure.get_figheight(), figure.axes[0].get_legend_handles_labels()
    place = (0.5, figure.subplotpars.top + 0.42 / height)  # between title and panels
    figure.legend(*drawn, loc="upper center", bbox_to_anchor=place, ncols=3, frameon=False, fontsize=8, borderpad=0)
    figure.supxlabel("ID score (higher = more in-distribution)", fontsize=8, y=0.05 / height, va="bottom")
    save_figure(figure, path)


class ScoreAxis(NamedTuple):
    """Where scores lie on a picture's axis.

    Attributes:
        is_logit: they are shares, and drawn over their logit.
        edges: of the bins, as they are drawn.
    """

    is_logit: bool
    edges: np.ndarray

    @classmethod
    def over(cls, parts: Sequence[Float[Tensor, " _"]]) -> "ScoreAxis":
        """An axis that holds all these scores."""
        everything = torch.cat([part.double() for part in parts])
        is_logit = bool(((everything >= 0) & (everything <= 1)).all())
        drawn = _placed(everything, is_logit)
        lowest, highest = float(drawn.min()), float(drawn.max())
        return cls(is_logit, np.linspace(lowest, max(highest, lowest + 1e-6), NUM_BINS + 1))

    def placed(self, scores: Float[Tensor, " _"]) -> np.ndarray:
        """Where these are drawn."""
        return _placed(scores.double(), self.is_logit).numpy()

    def mark(self, panel: Axes) -> None:
        """Ticks that say the scores themselves."""
        panel.set_yticks([])
        panel.tick_params(labelsize=7)
        if self.is_logit:
            panel.set_xticks(*zip(*self.ticks(), strict=True))

    def ticks(self) -> list[tuple[float, str]]:
        """Where the axis has a mark, and the score that it says."""
        low, high = float(self.edges[0]), float(self.edges[-1])
        if not self.is_logit:
            found = np.round(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high), 12) + 0.0  # no -0
            return [(place, f"{place:g}") for place in found.tolist() if low <= place <= high]
        places = _placed(torch.tensor(TICKS, dtype=torch.float64), True).tolist()
        inside = [(place, f"{tick:.10g}") for place, tick in zip(places, TICKS, strict=True) if low <= place <= high]
        if len(inside) > 1:
            return inside[:: -(-len(inside) // MOST_TICKS)]
        return [(end, f"{share:.4g}") for end, share in ((end, 1 / (1 + math.exp(-end))) for end in (low, high))]


def _placed(scores: Float[Tensor, " _"], is_logit: bool) -> Float[Tensor, " _"]:
    return scores.clamp(NEAREST, 1 - NEAREST).logit() if is_logit else scores


def draw_scores(panel: Axes, axis: ScoreAxis, id_scores: Float[Tensor, " _"], ood_scores: Float[Tensor, " _"]) -> None:
    """Both histograms, and the score that 95% of the ID images reach."""
    for values, colour, label in ((id_scores, ID_COLOUR, "ID"), (ood_scores, OOD_COLOURS[0], "OOD")):
        # One outline: a patch per bin takes three times as long.
        panel.stairs(histogram(axis, values), axis.edges, fill=True, alpha=0.55, color=colour, label=label)
    reached = torch.quantile(id_scores.double().cpu(), 1 - RECALL, interpolation="lower")
    panel.axvline(axis.placed(reached[None])[0], color="0.25", linewidth=1, linestyle=":", label="95% of ID")
    axis.mark(panel)


def histogram(axis: ScoreAxis, scores: Float[Tensor, " _"]) -> np.ndarray:
    """The share of the scores in each of the axis's bins."""
    return np.histogram(axis.placed(scores), bins=axis.edges)[0] / len(scores)


def roc_curves(
    scores: Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]],
    aurocs: Mapping[str, float],
    title: str,
    path: Path,
) -> None:
    """Share of ID images kept against share of OOD images let in, one curve per OOD set."""
    figure = Figure(figsize=(5.2, 5))
    axes = figure.subplots()
    for i, (name, (id_scores, ood_scores)) in enumerate(scores.items()):
        let_in, kept = roc_points(id_scores, ood_scores)
        label = f"{name}  AUROC {100 * aurocs[name]:.2f}"
        axes.plot(let_in, kept, color=OOD_COLOURS[i % 7], label=label, linestyle="-" if i < 7 else "--")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.axhline(0.95, color="0.7", linewidth=0.8, linestyle=":")
    axes.set(xlabel="OOD images accepted", ylabel="ID images accepted", xlim=(0, 1), ylim=(0, 1.005))
    give_title(figure, title, CURVES)
    axes.legend(frameon=False, loc="lower right")
    save_figure(figure, path)


def roc_points(id_scores: Tensor, ood_scores: Tensor) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Accepted shares at each distinct score, from the strictest threshold to the loosest."""
    values, rank = torch.unique(torch.cat([id_scores, ood_scores]), return_inverse=True)
    points = []
    for part in (rank[len(id_scores) :], rank[: len(id_scores)]):
        counts = torch.bincount(part, minlength=len(values)).flip(0).cumsum(0).double() / len(part)
        points.append(torch.cat([counts.new_zeros(1), counts]))
    return points[0], points[1]


def give_title(figure: Figure, title: str, inches: Mapping[str, float], rows: int = 1, columns: int = 1) -> None:
    """A title as wide as the figure, which grows by its lines: overrides may be long.

    Args:
        inches: around the panels, the title's first line in those at the top, and between panels.
        rows, columns: of panels.
    """
    wrapped = fill(title, int(TITLE_CHARACTERS * figure.get_figwidth()))
    lines = TITLE_LINE * wrapped.count("\n")
    figure.set_figheight(figure.get_figheight() + lines)
    width, height = figure.get_size_inches()
    figure.suptitle(wrapped, fontsize=10, y=1 - 0.05 / height)
    across = (width - inches["left"] - inches["right"] + inches["wspace"]) / columns - inches["wspace"]
    up = (height - inches["top"] - lines - inches["bottom"] + inches["hspace"]) / rows - inches["hspace"]
    figure.subplots_adjust(
        left=inches["left"] / width,
        right=1 - inches["right"] / width,
        bottom=inches["bottom"] / height,
        top=1 - (inches["top"] + lines) / height,
        wspace=inches["wspace"] / across,
        hspace=inches["hspace"] / up,
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file; equal figures give equal bytes."""
    FigureCanvasAgg(figure).print_png(str(path), metadata=METADATA)


def as_png(figure: Figure) -> bytes:
    """The content of a PNG file; equal figures give equal bytes."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata=METADATA)
    return content.getvalue()
