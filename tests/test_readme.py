"""What README, documentation and card say: commands compose, targets exist, tables are what the pipeline reaches."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from neglab.tasks import evaluate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CARD = (ROOT / "neglab/assets/README.md").read_text()
PAGES = [README, *(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```(?:bash|sh)\n(.*?)```", page, flags=re.DOTALL)]
LINES = [line.split(" #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("neglab ") and not re.search(r"--help|searchpath| -sc ", line)]
TOLERANCE = 0.3  # percentage points: what other machines may move where a score learns or inverts
DIGITS = 0.015  # of AUROC, where a score is a function of the embeddings: what is printed, but for its last digit
ONE_IMAGE = 0.1  # of accuracy and FPR95, which an image on the edge moves


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_composes(composes, command):
    composes(command)


def test_ones_own_method_and_dataset_run(overrides, benchmark, composes, monkeypatch, tmp_path):
    """The files of the two sections, written as they stand, on the small benchmark."""
    section = (ROOT / "docs/how-to/extend.md").read_text()
    for text in re.findall(r"```(?:python|yaml)\n(.*?)```", section, flags=re.DOTALL):
        path = tmp_path / text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "birds").symlink_to(benchmark / "id")
    (tmp_path / "data" / "bugs").symlink_to(benchmark / "near")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    method, dataset = re.findall(r"^(?:PYTHONPATH=\. )?(neglab .*searchpath.*)$", section, flags=re.MULTILINE)
    small = ["negative_selector.fraction=0.5", "plots=false", *overrides]
    config = composes(shlex.join([*shlex.split(method), *small]))
    assert config.score._target_ == "my_methods.GapScore"
    evaluate.run(config)
    without_sets = [text for text in small if not text.startswith(("id_dataset", "ood_datasets"))]
    evaluate.run(composes(shlex.join([*shlex.split(dataset), *without_sets, "score.num_groups=4"])))
    assert "bugs," in (tmp_path / "results.csv").read_text()


def test_what_is_compared_was_made_by_a_line_above():
    """compare_filters reads the verdicts that a filter left, so each folder is that of a filter's run."""
    (compared,) = (line for line in COMMANDS if line.startswith("neglab compare_filters"))
    for folder in re.findall(r"=(outputs/\w+)", compared):
        made = [line for line in COMMANDS[: COMMANDS.index(compared)] if f"hydra.run.dir={folder}" in line]
        assert made and all("method=negrefine" in line for line in made)


@pytest.mark.parametrize("line", sorted({line for line in LINES if line.startswith("neglab")}))
def test_brackets_are_quoted(line):
    """zsh takes them for patterns of file names."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
    assert not re.search(r"[][*?{}]", bare)


def test_the_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_shipped_benchmark_reaches_the_table(neglab, tmp_path):
    """The real pipeline, on the shipped model and images; the order of the methods with it, as in the papers."""
    stated = table(README.split("## What people do")[0], r"")
    assert stated.keys() == {"mcm", "maxlogit", "random_negatives", "neglabel"}
    measured = sweep(neglab, tmp_path, stated)
    check(stated, measured, DIGITS, ONE_IMAGE)
    auroc = {name: 100 * float(rows["mean"]["auroc_mean"]) for name, rows in measured.items()}
    assert auroc["mcm"] + 1 < auroc["random_negatives"]
    assert auroc["random_negatives"] + 0.4 < auroc["neglabel"]
    assert auroc["maxlogit"] + 0.2 < auroc["neglabel"]


@pytest.mark.parametrize(
    "trainer", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("gpu", marks=pytest.mark.gpu)]
)
def test_every_method_reaches_the_tables_of_the_card(neglab, tmp_path, trainer):
    section = CARD.split("### How good it is")[1].split("### What it is not")[0]
    stated = table(section, r"(?:yes|no) \| ")
    assert {"csp", "negrefine", "knn", "eoe", "adaneg", "interneg"} <= stated.keys()
    measured = sweep(neglab, tmp_path, stated, f"trainer={trainer}")
    check(stated, measured, TOLERANCE, 5 * TOLERANCE)
    by_set = {name: cells for name, cells in table(section, r"", columns=6).items()}
    for name, cells in by_set.items():
        datasets = [key for key in measured[name] if key != "mean"]
        found = [100 * float(measured[name][key]["auroc_mean"]) for key in datasets]
        assert found == pytest.approx(list(map(float, cells)), abs=2 * TOLERANCE), name


def table(text, before, columns=4):
    """The figures of each row that begins with a method's name and what `before` matches."""
    rows = re.findall(rf"^\| `(\w+)` \| {before}([\d. |]+) \|$", text, flags=re.MULTILINE)
    return {name: cells.split("|") for name, cells in rows if cells.count("|") == columns - 1}


def sweep(neglab, folder, methods, *options):
    """Rows of the sweep's table by method and OOD set."""
    own = ["logger=csv", "plots=false", "trainer.progress_bar=false", *options]
    finished = neglab("-m", f"method={','.join(methods)}", *own, timeout=3000)
    assert finished.returncode == 0, finished.stderr
    (path,) = folder.glob("multirun/*/*/aggregate.csv")
    measured = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            measured.setdefault(row["method"], {})[row["ood_dataset"]] = row
    return measured


def check(stated, measured, of_auroc, of_shares):
    """AUROC within one tolerance; accuracy and FPR95, which single images move, within the other."""
    metrics = ("auroc", "id_accuracy", "fpr95_id_positive", "fpr95_ood_positive")
    for name, cells in stated.items():
        accuracy, auroc, *fpr95 = map(float, cells)
        found = [100 * float(measured[name]["mean"][f"{metric}_mean"]) for metric in metrics]
        assert found[0] == pytest.approx(auroc, abs=of_auroc), name
        assert found[1:] == pytest.approx([accuracy, *fpr95], abs=of_shares), name
