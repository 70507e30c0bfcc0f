"""Every benchmark runs on small sizes, its ways agree, and `python -m benchmarks` prints the table."""

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
MINI = f"local-dir:{ROOT}/neglab/assets/mini"
SMALL = {
    "adaneg_stream": {"num_images": 300, "num_classes": 10, "num_negatives": 50},
    "decoding": {"num_images": 8, "large": 96},
    "gpu": {
        "device": "cpu",
        "images": 48,
        "road_images": 24,
        "classes": 3,
        "words": 40,
        "model": MINI,
        "precision": "fp32",
        "workers": 0,
        "batch": 8,
        "compile": 0,
        "pair_images": 2,
        "questions": 12,
        "width": 64,
        "layers": 2,
    },
    "image_pass": {"num_images": 5, "model": MINI},
    "inversion": {"num_images": 6, "num_plain": 2, "backbone": ["backbone=mini"]},
    "lsn_epoch": {"num_classes": 3, "num_images": 16, "backbone": ["backbone=mini"]},
    "large_sets": {"sizes": (1_000, 3_000), "dim": 8, "part_rows": 700},
    "llm_filter": {"num_questions": 12, "num_plain": 3, "hidden_size": 64, "num_layers": 2, "batch_size": 5},
    "metrics": {"num_id": 60, "num_ood": 40, "num_resamples": 4},
    "mining": {"num_words": 600, "num_classes": 21},
    "neglabel_score": {"num_images": 64, "num_classes": 5, "num_negatives": 200},
    "negrefine_score": {"num_images": 4, "num_negatives": 100, "num_plain": 1, "sets": ["plants"]},
    "scaling": {"smallest": (4, 20, 8), "factors": (1, 10), "num_jpegs": 3, "processes": (1,)},
    "serve": {"num_images": 6, "num_clients": 3, "size": 64},
    "start": {"repeats": 1, "with_run": False},
    "sweep": {
        "num_images": 60,
        "num_classes": 3,
        "num_words": 60,
        "num_negatives": (20, 30),
        "model": MINI,
        "num_forward": 1,
        "groups": (1, 2),
    },
    "text_bank": {"backbone": ["backbone=mini"], "every": 7000, "plain_every": 2},
    "tokenising": {"every": 700},
}
SLOW = {"sweep", "serve"}  # whole runs; one mines the whole corpus


def test_all_are_tried(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    assert set(importlib.import_module("benchmarks.__main__").names()) == SMALL.keys()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in SMALL])
def test_the_ways_agree(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    figure = importlib.import_module(f"benchmarks.{name}").measure(**SMALL[name])
    assert figure.difference <= figure.tolerance
    assert figure.ratios
    if name == "gpu":
        assert {*importlib.import_module("benchmarks.gpu").ROADS} <= figure.details["smallest cosine"].keys()
        assert min(figure.details["smallest cosine"].values()) > 0.999
    assert all(math.isfinite(ratio.value) and ratio.value > 0 for ratio in figure.ratios)


def test_an_unknown_name_is_refused():
    command = [sys.executable, "-m", "benchmarks", "neglabel"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert finished.returncode == 1
    assert "There is no benchmark neglabel; there are" in finished.stderr


def test_without_a_gpu_its_benchmark_says_so(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    benchmark = importlib.import_module("benchmarks.gpu")
    with pytest.raises(SystemExit, match="needs a GPU, and torch finds none"):
        benchmark.measure()
    with pytest.raises(SystemExit, match="There is no pictures; there are device, images"):
        benchmark.Sizes.typed(["pictures=3"])
    assert benchmark.Sizes.typed(["device=cpu", "images=200"]) == benchmark.Sizes("cpu", 200)


def test_what_a_machine_cannot_do_is_left_out_of_the_gpus_benchmark(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT)
    benchmark = importlib.import_module("benchmarks.gpu")

    def failing():
        raise RuntimeError("Failed to find C compiler")

    benchmark.take(times := {}, "compiling", failing)
    benchmark.take(times, "forward", lambda: None)
    assert times.keys() == {"forward"}
    assert "compiling: not measured. Failed to find C compiler" in capsys.readouterr().err
    monkeypatch.setattr(benchmark, "SHARED_MEMORY", tmp_path)
    benchmark.check_room(benchmark.Sizes(workers=0))
    monkeypatch.setattr(benchmark.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**26))
    with pytest.raises(SystemExit, match=r"16 workers hand on up to 4\.3 GiB .* has 0\.1 GiB\. Enlarge it"):
        benchmark.check_room(benchmark.Sizes())
