"""Every benchmark runs on small sizes, its ways agree, and `python -m benchmarks` prints the table."""

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {
    "neglabel_score": {"num_images": 64, "num_classes": 5, "num_negatives": 200},
}


def test_all_are_tried():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__main__", "figure"} == SMALL.keys()


@pytest.mark.parametrize("name", SMALL)
def test_the_ways_agree(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    figure = importlib.import_module(f"benchmarks.{name}").measure(**SMALL[name])
    assert figure.difference <= figure.tolerance
    assert figure.ratios
    assert all(math.isfinite(ratio.value) and ratio.value > 0 for ratio in figure.ratios)


def test_an_unknown_name_is_refused():
    command = [sys.executable, "-m", "benchmarks", "neglabel"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert finished.returncode == 1
    assert "There is no benchmark neglabel; there are" in finished.stderr
