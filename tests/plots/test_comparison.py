import io
from itertools import pairwise

import torch
from PIL import Image

from neglab.plots.comparison import Bar, metric_bars, roc_panels, score_panels
from neglab.plots.detection import ScoreAxis


def scores(seed, sets=("sun", "dtd")):
    draw = torch.Generator().manual_seed(seed)
    return {name: (torch.rand(60, generator=draw).sqrt(), torch.rand(40, generator=draw) ** 2) for name in sets}


def test_pictures_are_whole_and_repeat():
    methods = {f"method $_{i}": scores(i) for i in range(9)}
    bars = {name: {key: Bar(90.0, 88.0, 91.0) for key in ("sun", "dtd", "mean")} for name in methods}
    for draw, given in (
        (roc_panels, methods),
        (score_panels, methods),
        (lambda bars: metric_bars(bars, "AUROC"), bars),
    ):
        first, second = draw(given), draw(given)
        assert first == second
        with Image.open(io.BytesIO(first)) as picture:
            assert min(picture.size) > 300 and len(set(picture.convert("L").get_flattened_data())) > 20


def test_shares_are_drawn_over_their_logit():
    """Scores that differ by a millionth below 1 fall into bins of their own; other scores stay as they are."""
    near_one = torch.tensor([0.5, 1 - 1e-3, 1 - 1e-6, 1.0], dtype=torch.float64)
    axis = ScoreAxis.over([near_one])
    places = axis.placed(near_one)
    assert axis.is_logit and all(later - earlier > 6 for earlier, later in pairwise(places))
    assert len(axis.edges) == 41 and axis.edges[0] <= places[0] and axis.edges[-1] >= places[-1]
    assert not ScoreAxis.over([torch.tensor([-1.0, 0.5])]).is_logit
