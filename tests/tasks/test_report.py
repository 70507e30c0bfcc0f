import csv

import pytest

from neglab.compose import compose
from neglab.tasks.report import run
from neglab.tasks.results import METRICS, write_rows
from neglab.types import UserError

NEGLABEL = {
    "method": "neglabel",
    "overrides": "backbone=clip_vit_b16 id_dataset=imagenet1k ood_datasets=four_ood",
    "backbone": "clip_vit_b16",
    "id_dataset": "imagenet1k",
    "published_source": "",
    "published_table": "",
    "published_method": "neglabel",
    "published_variant": "",
    "published_id_dataset": "imagenet1k",
}


def write_run(folder, aurocs, seed=0, **setting):
    folder.mkdir(parents=True)
    row = {**NEGLABEL, "num_negatives": 10, "seed": seed, "id_accuracy": 0.5, **dict.fromkeys(METRICS, 0.25), **setting}
    write_rows(folder / "results.csv", [{**row, "ood_dataset": name, "auroc": value} for name, value in aurocs.items()])


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Runs `neglab report` in an empty folder; returns the rows of report.csv."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()

    def make(*overrides):
        run(compose(overrides, "report", tmp_path / "report"))
        with (tmp_path / "report/report.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return make


def test_runs_and_killed_sweeps_are_averaged_and_compared(report, tmp_path, capsys):
    write_run(tmp_path / "multirun/day/time/0", {"sun": 0.9550, "ninco": 0.8, "mean": 0.9}, seed=0)
    write_run(tmp_path / "multirun/day/time/1", {"sun": 0.9590, "ninco": 0.8, "mean": 0.9}, seed=1)
    (tmp_path / "multirun/day/time/2_killed").mkdir()
    write_run(tmp_path / "outputs/day/time", {"flags": 0.7, "mean": 0.7}, method="tins", published_method="")
    sun, ninco, flags = report()
    assert (sun["num_seeds"], sun["auroc_mean"]) == ("2", "0.957")
    assert (sun["published_source"], sun["published_table"]) == ("neglabel2024", "T1")
    assert (sun["published_auroc"], sun["auroc_difference"]) == ("0.9549", "0.0021")
    assert (sun["published_fpr95"], sun["fpr95_convention"], sun["fpr95_difference"]) == ("0.2053", "ID+", "0.0447")
    assert {row["published_note"] for row in (ninco, flags)} == {"no published value"}
    text = (tmp_path / "report/report.md").read_text()
    assert "Mean over the OOD sets, in percent" in text
    assert "| sun | 95.70 | 95.49 | +0.21 | 25.00 | 20.53 | +4.47 | ID+ |" in text
    assert "\n1: no published value\n" in text
    assert "Against neglabel2024 T1" in capsys.readouterr().out


def test_one_folder_may_be_chosen(report, tmp_path):
    write_run(tmp_path / "outputs/one", {"sun": 0.9, "mean": 0.9})
    write_run(tmp_path / "outputs/two", {"sun": 0.8, "mean": 0.8})
    assert [row["auroc_mean"] for row in report(f"results={tmp_path}/outputs/two")] == ["0.8"]


def test_a_run_above_others_is_one_run(report, tmp_path):
    write_run(tmp_path / "all", {"sun": 0.9, "mean": 0.9}, seed=0)
    write_run(tmp_path / "all/below", {"sun": 0.7, "mean": 0.7}, seed=1)
    ((mean, seeds),) = [(row["auroc_mean"], row["num_seeds"]) for row in report(f"results={tmp_path}/all")]
    assert (mean, seeds) == ("0.8", "2")
    assert "2 finished runs, 0 without" in (tmp_path / "report/report.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"a,b\n1,2\n", "KeyError"),
        (b"", "no row of the mean"),
        (b"method,ood_dataset,num_negatives,id_accuracy,auroc\nmcm,mean,0,0.5,high\n", "ValueError"),
    ],
)
def test_a_foreign_results_csv_is_named(report, tmp_path, content, message):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/results.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"outputs/results.csv cannot be read .*" + message):
        report()


def test_nothing_to_report(report, tmp_path):
    with pytest.raises(UserError, match=r"no results\.csv below multirun or outputs"):
        report()
    with pytest.raises(UserError, match="results must be a folder"):
        report("results=nowhere")
