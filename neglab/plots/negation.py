"""Pictures of whether a model reads "not"."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from neglab.plots.detection import ID_COLOUR, OOD_COLOURS, save_figure


def preference_bars(shares: Mapping[str, Sequence[float]], right: Sequence[float], title: str, path: Path) -> None:
    """For each question one group of bars, one bar per pair of templates, and a line where a reader of "not" would be.

    Args:
        shares: by question, the share for each pair of templates.
        right: the answer of a model that reads "not", by question.
        title: of the figure.
        path: of the PNG file.
    """
    figure = Figure(figsize=(2.6 + 1.5 * len(shares), 3.6), layout="constrained")
    axes = figure.subplots()
    num_pairs = len(next(iter(shares.values())))
    width = 0.8 / num_pairs
    for i in range(num_pairs):
        places = [question + (i - (num_pairs - 1) / 2) * width for question in range(len(shares))]
        colour = (ID_COLOUR, *OOD_COLOURS)[i % (1 + len(OOD_COLOURS))]
        axes.bar(
            places, [values[i] for values in shares.values()], width, color=colour, alpha=0.6, label=f"pair {i + 1}"
        )
    for question, value in enumerate(right):
        axes.plot([question - 0.42, question + 0.42], [value, value], color="0.1", linewidth=1.5)
    axes.plot([], [], color="0.1", linewidth=1.5, label='reads "not"')
    axes.set(ylim=(-0.03, 1.03), ylabel="share", title=title)
    axes.set_xticks(range(len(shares)), list(shares), fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def class_counts(counts: Mapping[str, tuple[Sequence[int], int]], title: str, path: Path) -> None:
    """One panel per set: for each class, how many images prefer its negated text; LSN's Figures 9 to 12.

    Args:
        counts: by set, the images that prefer "not class" for each class, and the number of images.
        title: of the figure.
        path: of the PNG file.
    """
    columns = min(3, len(counts))
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(counts) :]:
        panel.set_visible(False)
    for panel, (name, (negated, num_images)) in zip(panels, counts.items(), strict=False):
        ranked = sorted(negated, reverse=True)
        places = range(len(ranked))
        panel.bar(places, ranked, 1.0, color=OOD_COLOURS[0], alpha=0.6, label="not a photo of a class")
        rest = [num_images - count for count in ranked]
        panel.bar(places, rest, 1.0, bottom=ranked, color=ID_COLOUR, alpha=0.6, label="a photo of a class")
        panel.set(title=name, xlabel="classes, sorted", ylabel="images", xlim=(-0.5, len(ranked) - 0.5))
    panels[0].legend(frameon=False, fontsize=7, loc="lower left")
    figure.suptitle(title)
    save_figure(figure, path)
