import re
from itertools import pairwise

import pytest
import torch

from neglab.plots.comparison import Bar, metric_bars, roc_panels, score_panels
from neglab.plots.detection import ScoreAxis
from neglab.report.page import Block, Report, report_page


def scores(seed, sets=("sun", "dtd")):
    draw = torch.Generator().manual_seed(seed)
    return {name: (torch.rand(60, generator=draw).sqrt(), torch.rand(40, generator=draw) ** 2) for name in sets}


METHODS = {f"method $_{i}": scores(i) for i in range(9)}


def test_bars_hold_the_values_and_begin_below_the_lowest():
    bars = {"a": {"sun": Bar(90.0, 88.0, 91.0), "mean": Bar(90.0, 88.0, 91.0)}, "b": {"mean": Bar(71.0, 66.5, 75.0)}}
    chart = metric_bars(bars, "AUROC")
    assert [(panel.title, [(row.number, row.name) for row in panel.rows]) for panel in chart.panels] == [
        ("sun", [(0, "a")]),
        ("mean", [(0, "a"), (1, "b")]),
    ]
    assert chart.panels[1].rows[1].bar == bars["b"]["mean"]
    assert chart.lowest == 60 and "from 60 to 100" in chart.title
    assert metric_bars({"a": {"sun": Bar(2.0, 1.0, 3.0)}}, "AUROC").lowest == 0


def test_a_curve_accepts_what_a_threshold_accepts():
    chart = roc_panels(METHODS)
    assert [panel.title for panel in chart.panels] == ["sun", "dtd"]
    assert chart.legend == [(name, f"s{i}") for i, name in enumerate(METHODS)]
    for panel in chart.panels:
        for line, by_set in zip(panel.lines, METHODS.values(), strict=True):
            known, strange = by_set[panel.title]
            points = {
                ((strange >= threshold).double().mean().item(), (known >= threshold).double().mean().item())
                for threshold in [*known.tolist(), *strange.tolist(), 2.0]
            }
            assert set(line.points) == points  # so few that none is left out
            assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(line.points))


def test_curves_of_many_images_keep_their_ends_and_their_size():
    draw = torch.Generator().manual_seed(0)
    many = {"a": {"sun": (torch.randn(50_000, generator=draw) + 1, torch.randn(10_000, generator=draw))}}
    points = roc_panels(many).panels[0].lines[0].points
    assert len(points) == 300 and (points[0], points[-1]) == ((0, 0), (1, 1))


def test_histograms_share_an_axis_and_mark_95_percent_of_the_id_images():
    (panel,) = score_panels({"a": scores(0)}).panels
    known, strange = (torch.cat([pair[i] for pair in scores(0).values()]).double() for i in (0, 1))
    low, high = panel.ends
    for line, values in zip(panel.lines, (known, strange), strict=True):
        shares = [height for _, height in line.points[::2]]
        places = [place for place, _ in line.points]
        edges = torch.tensor([*places[::2], places[-1]], dtype=torch.float64) * (high - low) + low
        edges[0], edges[-1] = edges[0] - 1e-9, edges[-1] + 1e-9
        counts = torch.histogram(values.logit(), edges).hist
        assert shares == pytest.approx((counts / counts.sum() * max(shares) / (counts / counts.sum()).max()).tolist())
    assert max(height for line in panel.lines for _, height in line.points) == 1
    place = panel.guide_across[0] * (high - low) + low
    assert panel.is_logit and 0.94 <= (known.logit() >= place - 1e-9).double().mean() <= 0.96


def test_shares_are_drawn_over_their_logit():
    """Scores that differ by a millionth below 1 fall into bins of their own; other scores stay as they are."""
    near_one = torch.tensor([0.5, 1 - 1e-3, 1 - 1e-6, 1.0], dtype=torch.float64)
    axis = ScoreAxis.over([near_one])
    places = axis.placed(near_one)
    assert axis.is_logit and all(later - earlier > 6 for earlier, later in pairwise(places))
    assert len(axis.edges) == 41 and axis.edges[0] <= places[0] and axis.edges[-1] >= places[-1]
    other = ScoreAxis.over([torch.tensor([-1.0, 0.5])])
    assert not other.is_logit
    assert [text for _, text in other.ticks()] == ["-1", "-0.5", "0", "0.5"]


def test_every_panel_of_curves_says_what_its_dotted_line_is():
    """A strip below each is kept for the value under the pointer, and is not blank until then."""
    scores = {"mcm": {"far": (torch.rand(9), torch.rand(9))}}
    charts = [roc_panels(scores), score_panels(scores)]
    page = report_page(Report("title", [], [Block("", [], charts, [])], [], [], [], [], [], {}))
    said = re.findall(r'<p class="reading note" aria-hidden="true">(.*?)</p>', page)
    assert len(said) == 2 and all("95% of the ID images" in text for text in said)
