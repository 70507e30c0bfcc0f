import pytest

from neglab.report import curves as report_curves
from neglab.report.curves import curves, numbers


def row(method, overrides, auroc, deviation: float | str = "", **more):
    metrics = {f"{name}_mean": 0.25 for name in ("fpr95_id_positive", "fpr95_ood_positive")}
    deviations = {f"{name}_std": deviation for name in ("auroc", "fpr95_id_positive", "fpr95_ood_positive")}
    setting = {"method": method, "overrides": overrides, "id_dataset": "emoji", "stream": "none", "ood_dataset": "mean"}
    return {**setting, "auroc_mean": auroc, **metrics, **deviations, **more}


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn: by knob, its lines."""
    found = []
    monkeypatch.setattr(report_curves, "sweep_curves", lambda lines, knob: found.append((knob, lines)) or b"")
    return found


def test_only_numbers_are_knobs():
    overrides = "corpus=csp +score.num_groups=10 negative_selector.fraction=null score.temperature=1e-2 x=nan"
    assert numbers({"method": "neglabel", "overrides": overrides}) == [
        ("score.num_groups", 10, f"neglabel {overrides.replace('+score.num_groups=10 ', '')}"),
        ("score.temperature", 0.01, f"neglabel {overrides.replace('score.temperature=1e-2 ', '')}"),
    ]
    assert numbers({"method": "neglabel", "overrides": ""}) == []


def test_a_line_per_other_setting_with_means_and_deviations(drawn):
    rows = [row("neglabel", f"a.x={x} b.y={y}", x / 100, 0.01) for x in (10, 2) for y in (1, 2)]
    rows += [row("neglabel", "a.x=2 b.y=1", 0.9, ood_dataset="flags"), row("mcm", "a.x=5", 0.5), row("mcm", "", 0.5)]
    assert [found.title for found in curves(rows, {})] == ["a.x on emoji", "b.y on emoji"]
    (_, lines), (knob, others) = drawn
    assert [(line.label, line.values) for line in lines] == [("neglabel b.y=1", [2, 10]), ("neglabel b.y=2", [2, 10])]
    assert lines[0].means["AUROC ↑"] == [2, 10] and lines[0].deviations["AUROC ↑"] == [1, 1]
    assert lines[0].means["FPR95 (OOD+) ↓"] == [25, 25]
    assert (knob, [line.label for line in others]) == ("b.y", ["neglabel a.x=10", "neglabel a.x=2"])


def test_adaptive_scores_and_other_id_sets_are_apart(drawn):
    rows = [row("neglabel", f"a.x={x}", 0.5) for x in (1, 2)]
    rows += [row("adaneg", f"a.x={x}", 0.5, stream=f"batches of {x}") for x in (1, 2)]
    rows += [row("neglabel", f"a.x={x}", 0.5, id_dataset="pets") for x in (1, 2)]
    assert [found.title for found in curves(rows, {})] == ["a.x on emoji", "a.x on emoji (adaptive)", "a.x on pets"]
    assert [len(lines) for _, lines in drawn] == [1, 1, 1] and drawn[0][1][0].deviations["AUROC ↑"] == [0, 0]


def test_intervals_are_a_band_where_every_value_has_one(drawn):
    rows = [row("neglabel", f"a.x={x}", 0.5, config=f"c{x}") for x in (1, 2)]
    ends = {"auroc_low": 0.4, "auroc_high": 0.6}
    curves(rows, {"c1": ends, "c2": ends})
    curves(rows, {"c1": ends})
    assert [lines[0].intervals for _, lines in drawn] == [{"AUROC ↑": [(40, 60), (40, 60)]}, {}]
