"""What a command imports: each of these libraries costs a part of a second. Counts are held, not clocks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAST = "import sys; print('imported', *sorted(sys.modules), file=sys.stderr)"
# Two thirds of a second of the processor for torch, and as much for Hydra with a first composed config.
TO_COMPOSE = ("torch", "hydra", "omegaconf", "pydantic", "PIL", "numpy")
# What the towers, the passes and the metrics need: torchvision brings torch._dynamo, torchmetrics brings scipy.signal.
TO_COMPUTE = ("lightning", "torchmetrics", "torchvision", "torch._dynamo", "transformers", "open_clip", "timm", "scipy")
# What few runs need.
RARE = ("sklearn", "nltk", "tensorboard", "datasets", "ray", "onnxruntime", "openai", "IPython", "fastapi", "uvicorn")


def imported(tmp_path, *arguments, **environment):
    """The modules that the console script has imported at its end."""
    code = f"import atexit; atexit.register(lambda: exec({LAST!r})); from neglab.cli import main; main()"
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NEGLAB_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-c", code, *arguments]
    finished = subprocess.run(command, cwd=tmp_path, env={**known, **environment}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return set(finished.stderr.rpartition("imported ")[2].split())


@pytest.mark.parametrize("typed", [["--help"], ["detect", "--help"], ["--version"]])
def test_help_imports_nothing_that_computes(tmp_path, typed):
    assert not sorted({*TO_COMPOSE, *TO_COMPUTE, *RARE, "wandb", "matplotlib"} & imported(tmp_path, *typed))


def test_a_run_imports_no_more_than_it_uses_and_a_report_no_towers(overrides, tmp_path):
    run = imported(tmp_path, "method=mcm", *overrides)
    assert set(TO_COMPUTE) <= run  # so the names below are the ones that the libraries have
    assert not sorted({*RARE, "wandb"} & run)
    report = imported(tmp_path, "report", "bootstrap.resamples=null")
    assert "torch" in report
    assert not sorted({*TO_COMPUTE, *RARE, "wandb", "matplotlib.pyplot"} & report)


def test_wandb_starts_once_there_is_something_to_log(tmp_path):
    """Until the first bar a run that stays on this machine has not paid for W&B's service."""
    code = (
        "import sys; from pathlib import Path; from neglab.logger.base import Job; "
        "from neglab.logger.wandb import WandbRunLogger as Logger; "
        "one = Logger('neglab', None, None, (), 'disabled', False); "
        "one.start({}, Job('evaluate', Path.cwd(), None, ())); before = 'wandb' in sys.modules; "
        "one.log_metrics({'a': 1.0}); print(before, 'wandb' in sys.modules)"
    )
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=known, capture_output=True, text=True)
    assert finished.stdout.split() == ["False", "True"], finished.stderr
