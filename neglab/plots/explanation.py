"""Pictures of what decides: labels beside images, error rates, and theory against measurement."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from neglab.plots.detection import ID_COLOUR, OOD_COLOURS, save_figure

COLUMNS = 4


class Example(NamedTuple):
    """An image with the labels that decided, largest share first.

    Attributes:
        image: the picture.
        title: what it is and how it scored.
        labels: name, share and whether it is an ID class.
    """

    image: Image.Image
    title: str
    labels: tuple[tuple[str, float, bool], ...]


def label_examples(examples: Sequence[Example], title: str, path: Path) -> None:
    """Each image above the bars of its first labels: ID classes in blue, negatives in orange."""
    rows, columns = -(-len(examples) // COLUMNS), min(COLUMNS, len(examples))
    figure = Figure(figsize=(2.9 * columns, 3.4 * rows + 0.4), layout="constrained")
    panels = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(1.6, 1) * rows)
    for panel in panels.flatten():
        panel.set_visible(False)
    for i, example in enumerate(examples):
        picture, bars = panels[2 * (i // COLUMNS), i % COLUMNS], panels[2 * (i // COLUMNS) + 1, i % COLUMNS]
        picture.imshow(example.image)
        picture.set_visible(True)
        picture.set_axis_off()
        picture.set_title(example.title, fontsize=8)
        bars.set_visible(True)
        names, shares, is_class = zip(*example.labels, strict=True)
        places = range(len(names))
        bars.barh(places, shares, color=[ID_COLOUR if known else OOD_COLOURS[0] for known in is_class], alpha=0.6)
        for place, name in zip(places, names, strict=True):
            bars.text(0.01, place, name, fontsize=7, va="center", parse_math=False)
        bars.invert_yaxis()
        bars.set(xlim=(0, 1), yticks=[], xticks=[0, 0.5, 1])
        bars.tick_params(labelsize=7)
    figure.suptitle(f"{title}\nsoftmax shares: ID classes blue, negative labels orange", fontsize=9)
    save_figure(figure, path)


def error_rate_curves(
    thresholds: Sequence[float], max_ood: Sequence[float], sum_ood: Sequence[float], title: str, path: Path
) -> None:
    """Share of ID images taken for OOD, by what outweighs the ID classes, stacked."""
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    axes = figure.subplots()
    labels = ("Max-OOD: one negative label", "Sum-OOD: the negatives together")
    axes.stackplot(thresholds, max_ood, sum_ood, labels=labels, colors=OOD_COLOURS[:2], alpha=0.6)
    axes.set(xlabel="threshold of the ID share", ylabel="ID images taken for OOD", title=title, xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left")
    save_figure(figure, path)


class Curve(NamedTuple):
    """FPR as the number of negatives grows."""

    num_negatives: Sequence[int]
    predicted: Sequence[float]
    measured: Sequence[float]


def theory_curves(curves: Mapping[str, Curve], recall: float, title: str, path: Path) -> None:
    """FPR of counting matches against the number of negatives: measured solid, by Eq. 7 dashed."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        colour = OOD_COLOURS[i % len(OOD_COLOURS)]
        axes.plot(curve.num_negatives, curve.measured, color=colour, label=name)
        axes.plot(curve.num_negatives, curve.predicted, color=colour, linestyle="--")
    axes.plot([], [], color="0.4", linestyle="--", label="Eq. 7, independent matches")
    axes.set(xscale="log", xlabel="negative labels", ylabel=f"FPR at {recall:.0%} of ID images kept", title=title)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
