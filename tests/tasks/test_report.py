import csv
import errno
import os

import pytest

from neglab.compose import compose
from neglab.results.results import METRICS, write_rows
from neglab.tasks.report import run
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
HEADER = ",".join(("method", "overrides", "ood_dataset", "num_negatives", "id_accuracy", *METRICS))


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
    assert "\n1: no published value\n" in text and "flags | 70.00" not in text  # what no paper has is no comparison
    assert "Against neglabel2024 T1" in capsys.readouterr().out


def test_one_folder_may_be_chosen(report, tmp_path):
    write_run(tmp_path / "outputs/one", {"sun": 0.9, "mean": 0.9})
    write_run(tmp_path / "outputs/two", {"sun": 0.8, "mean": 0.8})
    assert [row["auroc_mean"] for row in report(f"runs={tmp_path}/outputs/two")] == ["0.8"]


def test_a_run_above_others_is_one_run(report, tmp_path):
    write_run(tmp_path / "all", {"sun": 0.9, "mean": 0.9}, seed=0)
    write_run(tmp_path / "all/below", {"sun": 0.7, "mean": 0.7}, seed=1)
    ((mean, seeds),) = [(row["auroc_mean"], row["num_seeds"]) for row in report(f"runs={tmp_path}/all")]
    assert (mean, seeds) == ("0.8", "2")
    assert "2 finished runs, 0 without" in (tmp_path / "report/report.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"a,b\n1,2\n", "KeyError"),
        (b"", "no row of the mean"),
        (b"method,ood_dataset,num_negatives,id_accuracy,auroc\nmcm,mean,0,0.5,high\n", "ValueError"),
        (f"{HEADER}\nmcm,,mean,0{',0.5' * 6},7\n".encode(), "more cells than there are headings"),
        (f"{HEADER.replace('overrides', 'other')}\nmcm,,mean,0{',0.5' * 6}\n".encode(), "KeyError: 'overrides'"),
    ],
)
def test_a_foreign_results_csv_is_named_and_left_out(report, tmp_path, capsys, content, message):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/results.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"needs a finished run.*\n.*outputs/results.csv cannot be read .*" + message):
        report()
    write_run(tmp_path / "outputs/whole", {"sun": 0.9, "mean": 0.9})
    assert [row["auroc_mean"] for row in report()] == ["0.9"]
    texts = [(tmp_path / f"report/report.{ending}").read_text() for ending in ("html", "md")]
    assert all("outputs/results.csv cannot be read" in text for text in (*texts, capsys.readouterr().out))


def test_the_old_name_of_a_key_is_none(tmp_path):
    with pytest.raises(UserError, match="neglab report has no key results"):
        compose(["results=multirun"], "report", tmp_path)


def test_a_full_disk_keeps_what_is_written_and_shows_the_tables(report, tmp_path, capsys, monkeypatch):
    write_run(tmp_path / "outputs/one", {"sun": 0.9, "mean": 0.9})

    def full(source, target, replace=os.replace):
        if target.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"The disk is full: .*report\.html needs"):
        report()
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.csv", "report.md", "report.tex"]
    assert "90.00" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["-1", "few", "1.5"])
def test_a_number_of_examples_that_cannot_be(report, count):
    with pytest.raises(UserError, match="num_examples must be "):
        report(f"num_examples={count}")


def test_nothing_to_report(report, tmp_path):
    with pytest.raises(UserError, match=r"no readable results\.csv below multirun or outputs"):
        report()
    with pytest.raises(UserError, match="runs must be a folder"):
        report("runs=nowhere")
