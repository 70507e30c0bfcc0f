import io

import pytest
from matplotlib.figure import Figure
from PIL import Image

from neglab.plots.sweeps import Line, sweep_curves


def line(label, values):
    values, metrics = [float(value) for value in values], ("AUROC ↑", "FPR95 ↓")
    return Line(label, values, {name: values for name in metrics}, {name: [0.5] * len(values) for name in metrics})


def test_the_picture_is_whole_and_repeats():
    lines = [line(f"setting $_{i}", [1, 10, 100]) for i in range(9)]
    first, second = (sweep_curves(lines, "score.num_groups") for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as picture:
        assert min(picture.size) > 300 and len(set(picture.convert("L").get_flattened_data())) > 20


@pytest.mark.parametrize(
    ("values", "scale"), [([1, 10, 100], "log"), ([1, 10, 99], "linear"), ([0, 1, 1000], "linear"), ([-1, 1], "linear")]
)
def test_values_that_lie_far_apart_are_logarithmic(monkeypatch, values, scale):
    figures = []
    monkeypatch.setattr("neglab.plots.sweeps.Figure", lambda **options: figures.append(Figure(**options)) or figures[0])
    sweep_curves([line("neglabel", values)], "x")
    assert [panel.get_xscale() for panel in figures[0].axes] == [scale] * 2
    assert [text.get_text() for text in figures[0].axes[0].get_xticklabels()] == [f"{value:g}" for value in values]
