import torch
from PIL import Image

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
