import statistics

import pytest

from neglab.tasks.aggregate import aggregate, collect_rows, write_aggregate
from neglab.tasks.results import METRICS, write_csv

HEADER = ["method", "overrides", "seed", "ood_dataset", *METRICS, "id_accuracy"]


def write_run(folder, method, seed, value):
    folder.mkdir(parents=True)
    rows = [[method, "", seed, name, *[value] * (len(METRICS) + 1)] for name in ("near", "mean")]
    write_csv(folder / "results.csv", HEADER, rows)


def test_mean_and_deviation_over_seeds(tmp_path):
    for seed, value in enumerate((0.8, 0.9, 0.7)):
        write_run(tmp_path / str(seed), "neglabel", seed, value)
    write_run(tmp_path / "3", "mcm", 0, 0.5)
    (tmp_path / "4_killed").mkdir()
    rows = {(row["method"], row["ood_dataset"]): row for row in aggregate(collect_rows(tmp_path))}
    assert rows["neglabel", "mean"]["num_seeds"] == 3
    assert rows["neglabel", "near"]["auroc_mean"] == pytest.approx(0.8)
    assert rows["neglabel", "near"]["auroc_std"] == pytest.approx(statistics.stdev((0.8, 0.9, 0.7)))
    assert rows["mcm", "mean"]["auroc_std"] == ""


def test_a_seed_counts_once(tmp_path):
    write_run(tmp_path / "0", "neglabel", 0, 0.8)
    write_run(tmp_path / "1", "neglabel", 0, 0.8)
    assert aggregate(collect_rows(tmp_path))[0]["num_seeds"] == 1


def test_files_beside_the_runs(tmp_path):
    assert write_aggregate(tmp_path) == []
    write_run(tmp_path / "0", "neglabel", 0, 0.8125)
    assert len(write_aggregate(tmp_path)) == 2
    assert "81.25" in (tmp_path / "aggregate.md").read_text()
    assert (tmp_path / "aggregate.csv").is_file()
