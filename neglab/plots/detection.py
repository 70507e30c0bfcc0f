"""Score histograms and ROC curves as PNG files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

# Okabe and Ito's palette: told apart by colour-blind readers.
ID_COLOUR = "#0072B2"
OOD_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6914")
NUM_BINS = 40
METADATA = {"Software": None}  # no version in the file: equal runs give equal bytes


def score_histograms(
    scores: Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]], title: str, path: Path
) -> None:
    """One panel per OOD set: its scores over those of the ID images; ID lies to the right.

    Args:
        scores: by OOD set, those of the ID images and of its own.
        title: of the figure.
        path: of the PNG file.
    """
    figure = Figure(figsize=(4.2 * min(3, len(scores)), 2.8 * -(-len(scores) // 3)), layout="constrained")
    panels = figure.subplots(-(-len(scores) // 3), min(3, len(scores)), squeeze=False).flatten()
    everything = torch.cat([part for pair in scores.values() for part in pair]).double()
    lowest, highest = float(everything.min()), float(everything.max())
    edges = torch.linspace(lowest, max(highest, lowest + 1e-6), NUM_BINS + 1, dtype=torch.float64).numpy()
    for i, (name, (id_scores, ood_scores)) in enumerate(scores.items()):
        for values, colour, label in ((id_scores, ID_COLOUR, "ID"), (ood_scores, OOD_COLOURS[0], name)):
            # One outline: a patch per bin takes three times as long, and a sweep draws this in every job.
            density, _ = np.histogram(values.numpy(), bins=edges, density=True)
            panels[i].stairs(density, edges, fill=True, alpha=0.55, color=colour, label=label)
        panels[i].set_yticks([])
        panels[i].legend(frameon=False)
        panels[i].set_xlabel("ID score (higher = more in-distribution)", fontsize=8)
    for panel in panels[len(scores) :]:
        panel.set_visible(False)
    figure.suptitle(title)
    save_figure(figure, path)


def roc_curves(
    scores: Mapping[str, tuple[Float[Tensor, " _"], Float[Tensor, " _"]]],
    aurocs: Mapping[str, float],
    title: str,
    path: Path,
) -> None:
    """Share of ID images kept against share of OOD images let in, one curve per OOD set."""
    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    for i, (name, (id_scores, ood_scores)) in enumerate(scores.items()):
        let_in, kept = _roc_points(id_scores, ood_scores)
        label = f"{name}  AUROC {100 * aurocs[name]:.2f}"
        axes.plot(let_in, kept, color=OOD_COLOURS[i % 7], label=label, linestyle="-" if i < 7 else "--")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
    axes.axhline(0.95, color="0.7", linewidth=0.8, linestyle=":")
    axes.set(xlabel="OOD images accepted", ylabel="ID images accepted", title=title, xlim=(0, 1), ylim=(0, 1.005))
    axes.legend(frameon=False, loc="lower right")
    save_figure(figure, path)


def _roc_points(id_scores: Tensor, ood_scores: Tensor) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """Accepted shares at each distinct score, from the strictest threshold to the loosest."""
    values, rank = torch.unique(torch.cat([id_scores, ood_scores]), return_inverse=True)
    points = []
    for part in (rank[len(id_scores) :], rank[: len(id_scores)]):
        counts = torch.bincount(part, minlength=len(values)).flip(0).cumsum(0).double() / len(part)
        points.append(torch.cat([counts.new_zeros(1), counts]))
    return points[0], points[1]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file; equal figures give equal bytes."""
    FigureCanvasAgg(figure).print_png(str(path), metadata=METADATA)
