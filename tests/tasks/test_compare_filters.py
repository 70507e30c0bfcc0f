import csv
import json

import pytest

from neglab.compose import compose
from neglab.tasks.compare_filters import read_verdicts, run
from neglab.types import UserError

COLUMNS = ["label", "name", "verdict", "reason", "class", "unclear"]
# label: reason and class by the reference, by the candidate; None: not judged by it at all
JUDGED = {
    "paris": [("proper noun", ""), ("proper noun", "")],
    "genus rosa": [("proper noun", ""), ("", "")],
    "rainier": [("", ""), ("proper noun", "")],
    "auriga": [("", ""), ("proper noun", "")],
    "poodle": [("subcategory", "dog"), ("the same", "poodle")],
    "may": [("proper noun", ""), ("subcategory", "month")],
    "toy, small [red]": [("subcategory", "dog"), ("", "")],
    "chair": [("", ""), ("", "")],
    "table": [("", ""), ("", "")],
    "b2": [("too short", ""), ("", "")],
    "ounce": [("", ""), None],
    "inch": [None, ("proper noun", "")],
    "foot": [None, ("", "")],
}


def write(path, rows, columns=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def row(label, reason="", class_name=""):
    return [label, label, "dropped" if reason else "kept", reason, class_name, "0"]


@pytest.fixture
def runs(tmp_path):
    for i, name in enumerate(("one", "two")):
        rows = [row(label, *verdicts[i]) for label, verdicts in JUDGED.items() if verdicts[i] is not None]
        write(tmp_path / name / "filter_verdicts.csv", [*rows, row("chair", "merged")] if i else rows)
    return tmp_path / "one", tmp_path / "two"


def test_the_command(neglab, runs, tmp_path):
    finished = neglab("compare_filters", f"reference={runs[0]}", f"candidate={runs[1]}/filter_verdicts.csv")
    assert finished.returncode == 0, finished.stderr
    assert not finished.stderr
    (folder,) = tmp_path.glob("outputs/*/*")
    found = json.loads((folder / "agreement.json").read_text())
    assert found["num_judged_by_both"] == 9
    # Both drop paris, poodle and may, both keep chair and table.
    assert found["agreement"] == 5 / 9
    assert (found["num_dropped_by_reference"], found["num_dropped_by_candidate"]) == (5, 5)
    assert found["precision"] == found["recall"] == 3 / 5
    assert (found["proper_noun/precision"], found["proper_noun/recall"]) == (1 / 3, 1 / 3)
    assert (found["subcategory/precision"], found["subcategory/recall"]) == (1 / 2, 1 / 2)
    assert (found["reference/num_judged_by_it_alone"], found["candidate/num_judged_by_it_alone"]) == (1, 3)
    assert (found["reference/num_not_judged"], found["candidate/num_repeated"]) == (1, 1)
    with (folder / "disagreements.csv").open(newline="") as file:
        rows = [tuple(line.values()) for line in csv.DictReader(file)]
    assert rows == [
        ("genus rosa", "reference", "proper noun", ""),
        ("toy, small [red]", "reference", "subcategory", "dog"),
        ("rainier", "candidate", "proper noun", ""),
        ("auriga", "candidate", "proper noun", ""),
    ]
    assert "9 labels judged by both, 55.56% alike" in finished.stdout
    assert "Dropped by the reference alone: 2 (genus rosa, toy, small [red])" in finished.stdout
    assert "Left out of the reference: 1 judged by it alone, 1 too short, merged" in finished.stdout
    assert "Left out of the candidate: 3 judged by it alone, 1 later rows of a label" in finished.stdout


def test_a_sweep_over_candidates(neglab, runs, tmp_path):
    finished = neglab("-m", "compare_filters", f"reference={runs[0]}", f"candidate={runs[0]},{runs[1]}")
    assert finished.returncode == 0, finished.stderr
    paths = sorted(tmp_path.glob("multirun/*/*/*/agreement.json"))
    assert [json.loads(path.read_text())["agreement"] for path in paths] == [1, 5 / 9]


def test_a_mistake_is_a_message(neglab, runs):
    finished = neglab("compare_filters", f"reference={runs[0]}", "candidate=/no/such/run")
    assert finished.returncode == 1
    assert "candidate must be the folder of a run" in finished.stderr and "Traceback" not in finished.stderr
    finished = neglab("compare_filters", f"reference={runs[0]}")
    assert "candidate=..." in finished.stderr and "Traceback" not in finished.stderr


def test_nothing_dropped_has_no_precision(tmp_path):
    path = write(tmp_path / "filter_verdicts.csv", [row("chair")])
    run(compose([f"reference={path}", f"candidate={path}"], command="compare_filters", output=tmp_path))
    found = json.loads((tmp_path / "agreement.json").read_text())
    assert found["precision"] is None and found["recall"] is None and found["agreement"] == 1


def test_files_that_cannot_be_compared(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*filter_verdicts\.csv"):
        read_verdicts(str(tmp_path), "reference")
    foreign = write(tmp_path / "results.csv", [["mcm", "near"]], columns=["method", "ood_dataset"])
    with pytest.raises(UserError, match="lacks label, verdict, reason, class"):
        read_verdicts(str(foreign), "reference")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(UserError, match="lacks label"):
        read_verdicts(str(empty), "reference")
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(UserError, match="no CSV file in UTF-8"):
        read_verdicts(str(picture), "reference")
    odd = write(tmp_path / "odd.csv", [row("chair"), ["table", "table", "perhaps", "", "", "0"]])
    with pytest.raises(UserError, match="the verdict 'perhaps' in row 2"):
        read_verdicts(str(odd), "reference")
    short = write(tmp_path / "short.csv", [["chair"]])
    with pytest.raises(UserError, match="the verdict None in row 1"):
        read_verdicts(str(short), "reference")
    nothing = write(tmp_path / "nothing.csv", [])
    with pytest.raises(UserError, match="judges no label"):
        read_verdicts(str(nothing), "candidate")


def test_runs_without_a_common_label(tmp_path):
    one = write(tmp_path / "one.csv", [row("chair")])
    two = write(tmp_path / "two.csv", [row("table")])
    with pytest.raises(UserError, match="at least one label in common"):
        run(compose([f"reference={one}", f"candidate={two}"], command="compare_filters", output=tmp_path))
