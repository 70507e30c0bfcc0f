import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from neglab.plots import detection
from neglab.plots.detection import roc_curves, score_histograms


def test_pictures_are_whole_and_repeat(tmp_path):
    draw = torch.Generator().manual_seed(0)
    id_scores = torch.rand(200, generator=draw) * 0.5 + 0.5
    scores = {f"set {i}": (id_scores, torch.rand(50, generator=draw)) for i in range(8)}
    for name in ("first", "second"):
        score_histograms(scores, "title", tmp_path / f"{name}_histograms.png")
        roc_curves(scores, dict.fromkeys(scores, 0.5), "title", tmp_path / f"{name}_curves.png")
    for kind in ("histograms", "curves"):
        first, second = (tmp_path / f"{name}_{kind}.png" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        with Image.open(first) as picture:
            assert min(picture.size) > 300 and len(set(picture.convert("L").get_flattened_data())) > 20


def test_equal_scores_can_be_drawn(tmp_path):
    score_histograms({"same": (torch.ones(5), torch.ones(5))}, "title", tmp_path / "same.png")
    assert (tmp_path / "same.png").stat().st_size > 1000


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("title", ["neglab", " ".join(f"score.some_key={i}" for i in range(12))])
def test_margins_hold_title_legend_and_labels(tmp_path, monkeypatch, count, title):
    """No layout engine sees to it: it takes a fourth of the time of a picture that every job of a sweep draws."""
    figures = []
    monkeypatch.setattr(detection, "save_figure", lambda figure, path: figures.append(figure))
    widest = torch.tensor([1e-9, 0.5, 1 - 1e-9], dtype=torch.float64)  # the longest marks, at both ends
    scores = {f"set {i}": (widest, widest) for i in range(count)}
    score_histograms(scores, title, tmp_path / "unused")
    roc_curves(scores, dict.fromkeys(scores, 0.5), title, tmp_path / "unused")
    for figure in figures:
        assert figure.get_layout_engine() is None
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        whole = [part.get_window_extent() for part in (*figure.texts, *figure.legends)]
        whole += [panel.get_tightbbox() for panel in figure.axes]
        for i, box in enumerate(whole):
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in whole[:i])
