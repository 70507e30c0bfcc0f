"""What is compared, and what it is called."""

import pytest

from neglab.results.aggregate import aggregate, summary_tables
from neglab.results.labels import settled, short_labels
from neglab.results.results import METRICS


def run(method="neglabel", overrides="", sets=("sun", "dtd"), value=0.8, **more):
    """The rows of one run."""
    row = {"method": method, "overrides": overrides, "id_dataset": "pets", "stream": "none", "seed": "0", **more}
    numbers = {**dict.fromkeys(METRICS, value), "id_accuracy": value, "num_negatives": 10}
    return [{**row, **numbers, "ood_dataset": name} for name in (*sets, "mean")]


def test_means_over_other_ood_sets_stand_in_other_tables():
    rows = [*run("mcm"), *run("neglabel"), *run("neglabel", "ood_datasets=flags", ["flags"], 0.99)]
    tables = summary_tables(aggregate(rows))
    assert [[row[0] for row in table.rows] for table in tables] == [["mcm", "neglabel"]] * 2 + [
        ["neglabel ood_datasets=flags"]
    ] * 2
    assert tables[0].title.startswith("pets against sun, dtd. ") and tables[2].title.startswith("pets against flags. ")


def test_the_order_of_ood_sets_changes_nothing_and_other_images_do():
    rows = [*run("mcm"), *run("neglabel", sets=("dtd", "sun")), *run("gen", benchmark="abcdef0123")]
    tables = summary_tables(aggregate(rows))
    assert [[row[0] for row in table.rows] for table in tables[::2]] == [["mcm", "neglabel"], ["gen"]]
    assert "[abcdef]" in tables[2].title and "[older runs]" in tables[0].title


def test_equal_settings_under_other_overrides_stand_once():
    rows = [*run(config="aa"), *run(overrides="score.num_groups=100", config="aa", seed="1", value=0.9)]
    rows += run(overrides="score.num_groups=1", config="bb")
    found = [row for row in aggregate(settled(rows)) if row["ood_dataset"] == "mean"]
    assert [(row["overrides"], row["num_seeds"]) for row in found] == [("", 2), ("score.num_groups=1", 1)]
    assert found[0]["auroc_mean"] == pytest.approx(0.85)


def test_what_is_called_alike_and_is_not_gets_its_digest():
    rows = settled([*run(config="aaaa11"), *run(config="bbbb22")])
    assert {row["overrides"] for row in rows} == {"config=#aaaa", "config=#bbbb"}
    assert settled(run()) == run()  # an older run has no digest


def test_labels_say_what_differs():
    overrides = ["backbone=clip corpus.path=/data/words/a/x.txt", "backbone=clip corpus.path=/data/words/b/x.txt"]
    shared, short = short_labels([row for text in overrides for row in run(overrides=text)])
    assert shared == "neglabel backbone=clip"
    assert list(short.values()) == ["corpus.path=.../a/x.txt", "corpus.path=.../b/x.txt"]
    shared, short = short_labels([*run(overrides=""), *run(overrides="score.num_groups=1")])
    assert (shared, list(short.values())) == ("neglabel", ["neglabel", "score.num_groups=1"])
    assert short_labels(run(overrides="x=1")) == ("", {"neglabel x=1": "neglabel x=1"})
