import shutil
import statistics

import pytest

from neglab.results.aggregate import aggregate, collect_rows, write_aggregate
from neglab.results.results import METRICS, pipe_table, write_csv
from neglab.types import UserError

HEADER = [
    "method", "overrides", "seed", "stream_seed", "stream", "uses_id_images", "num_negatives", "ood_dataset", *METRICS,
    "id_accuracy",
]  # fmt: skip


def write_run(folder, method, seed, value, stream="none", stream_seed="", num_negatives=10):
    folder.mkdir(parents=True)
    setting = [method, "", seed, stream_seed, stream, False, num_negatives]
    rows = [[*setting, name, *[value] * (len(METRICS) + 1)] for name in ("near", "mean")]
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


def test_numbers_of_negatives_may_differ_between_seeds(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), "csp", seed, 0.8, num_negatives=10 + seed)
    rows = aggregate(collect_rows(tmp_path))
    assert [(row["num_seeds"], row["num_negatives"]) for row in rows] == [(2, "10.5")] * 2


def test_adaptive_methods_have_tables_of_their_own(tmp_path):
    write_run(tmp_path / "0", "neglabel", 0, 0.8)
    for seed in (0, 1):
        write_run(tmp_path / f"1_{seed}", "adaneg", 0, 0.8, "shuffled, batches of 256", str(seed))
    tables, _ = write_aggregate(tmp_path, aggregate(collect_rows(tmp_path)))
    assert [len(table.rows) for table in tables] == [1, 1, 1, 1]
    assert "learning from the stream (shuffled, batches of 256). Mean over" in tables[2].title
    assert [row["num_seeds"] for row in aggregate(collect_rows(tmp_path)) if row["method"] == "adaneg"] == [2, 2]


def test_a_seed_counts_once(tmp_path):
    write_run(tmp_path / "0", "neglabel", 0, 0.8)
    write_run(tmp_path / "1", "neglabel", 0, 0.8)
    assert aggregate(collect_rows(tmp_path))[0]["num_seeds"] == 1


def test_jobs_come_in_their_order(tmp_path):
    for job in (10, 2, 1):
        write_run(tmp_path / f"{job}_mcm", "mcm", job, 0.8)
    assert [row["seed"] for row in collect_rows(tmp_path)[::2]] == ["1", "2", "10"]


def test_files_beside_the_runs(tmp_path):
    assert write_aggregate(tmp_path, aggregate(collect_rows(tmp_path))) == ([], [])
    write_run(tmp_path / "0", "neglabel", 0, 0.8125)
    assert len(write_aggregate(tmp_path, aggregate(collect_rows(tmp_path)))[0]) == 2
    assert "81.25" in (tmp_path / "aggregate.md").read_text()
    assert (tmp_path / "aggregate.csv").is_file()


@pytest.mark.parametrize(("old", "new"), [("near", "../../evil"), ("near", "id"), ("neglabel", "negl\x1b[2Jabel")])
def test_a_run_of_someone_else_names_no_file_and_steers_no_terminal(tmp_path, old, new):
    write_run(tmp_path / "0", "neglabel", 0, 0.8)
    path = tmp_path / "0" / "results.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match="as the run left them"):
        collect_rows(tmp_path)
    shutil.rmtree(tmp_path / "0")
    assert collect_rows(tmp_path) == []


def test_markdown_shows_text_as_it_is(tmp_path):
    write_run(tmp_path / "0", "<script>alert(1)</script> a|b", 0, 0.8)
    write_aggregate(tmp_path, aggregate(collect_rows(tmp_path)))
    text = (tmp_path / "aggregate.md").read_text()
    assert r"\<script\>alert(1)\</script\> a\|b" in text and "<script>" not in text.replace(r"\<", "")
    assert r"\<b\>" in pipe_table(["<b>"], ["---"], [["a|b"]]) and r"| a\|b |" in pipe_table(["x"], ["---"], [["a|b"]])
