"""What the README says: its commands compose, its targets exist, its table is what the pipeline reaches."""

import csv
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(?:bash|sh)\n(.*?)```", README, flags=re.DOTALL)
LINES = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({line for line in LINES if line.startswith("neglab ") and "--help" not in line})
TOLERANCE = 0.3  # percentage points: what other versions of the numeric libraries may move


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(neglab, command):
    arguments = [word for word in shlex.split(command)[1:] if word not in {"-m", "--cfg", "job"}]
    # Of a sweep's values the first stands for all: Hydra shows the config of a single job.
    arguments = [re.sub(r"^([\w/.]+)=([^,\[(]+),.*", r"\1=\2", word) for word in arguments]
    arguments = [re.sub(r"=range\((-?\d+).*", r"=\1", word) for word in arguments]
    finished = neglab("--cfg", "job", *arguments)
    assert finished.returncode == 0, finished.stderr


def test_the_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_shipped_benchmark_reaches_the_table(neglab, tmp_path):
    """The real pipeline, on the shipped model and images."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d. |]+) \|$", README, flags=re.MULTILINE)
    assert {"mcm", "random_negatives", "neglabel"} <= {name for name, _ in rows}
    methods = ",".join(name for name, _ in rows)
    finished = neglab("-m", f"method={methods}", "logger=csv", "plots=false", "trainer.progress_bar=false")
    assert finished.returncode == 0, finished.stderr
    (sweep,) = tmp_path.glob("multirun/*/*/aggregate.csv")
    with sweep.open(newline="") as file:
        means = {row["method"]: row for row in csv.DictReader(file) if row["ood_dataset"] == "mean"}
    for name, cells in rows:
        stated = [float(cell) for cell in cells.split("|")]
        metrics = ("id_accuracy", "auroc", "fpr95_id_positive", "fpr95_ood_positive")
        measured = [100 * float(means[name][f"{metric}_mean"]) for metric in metrics]
        assert measured[:2] == pytest.approx(stated[:2], abs=TOLERANCE), name
        assert measured[2:] == pytest.approx(stated[2:], abs=5 * TOLERANCE), name
