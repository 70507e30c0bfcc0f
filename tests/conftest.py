"""Fixtures that several rooms' tests share."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import fakes
import pytest
from hypothesis import settings

from neglab.cli import rewrite
from neglab.compose import compose

ROOT = Path(__file__).parents[1]
# The same examples on every machine, however slow it is; nothing is left in the checkout.
settings.register_profile("neglab", deadline=None, derandomize=True, database=None)
settings.load_profile("neglab")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """open_clip's name of a tiny random model on disk."""
    return fakes.write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Path:
    """Three ID classes of four pictures, two OOD sets of five, a corpus of forty words."""
    root = tmp_path_factory.mktemp("benchmark")
    for i, name in enumerate(("cat", "dog", "tree_frog")):
        fakes.write_pictures(root / "id" / name, 4, seed=i)
    fakes.write_pictures(root / "near", 5, seed=10)
    fakes.write_pictures(root / "far", 5, seed=11)
    (root / "words.txt").write_text("".join(f"word number {i}\n" for i in range(40)))
    return root


@pytest.fixture
def overrides(tiny_model, benchmark, tmp_path) -> list[str]:
    """A whole run on the small benchmark, in one process."""
    return [
        "backbone=open_clip",
        f"backbone.model={tiny_model}",
        "id_dataset=image_folder",
        f"id_dataset.root={benchmark}/id",
        "ood_datasets=image_folder",
        f"ood_datasets.image_folder.root={benchmark}/near",
        "corpus=file",
        f"corpus.path={benchmark}/words.txt",
        "data.image_batch_size=4",
        "data.text_batch_size=8",
        "data.num_workers=0",
        "data.score_batch_size=5",
        "trainer=cpu",
        "trainer.progress_bar=false",
        "logger=csv",
        f"paths.store={tmp_path}/store",
    ]


@pytest.fixture
def neglab(tmp_path):
    """Runs the console script in a new folder, as a user would; returns the finished process."""

    def run(*arguments, environment=None, timeout=300):
        script = Path(sys.executable).with_name("neglab")
        variables = {**os.environ, "NEGLAB_STORE": str(tmp_path / "store"), "COLUMNS": "160", **(environment or {})}
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            variables.pop(name, None)
        return subprocess.run(
            [str(script), *map(str, arguments)],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def composes(tmp_path):
    """Composes the config of a `neglab ...` line; of a sweep, that of its first job."""

    def run(line, command=None):
        typed = [word for word in shlex.split(line)[1:] if word not in {"-m", "--cfg", "job"}]
        found, overrides = rewrite(typed)
        assert command in (found, None)
        first = [re.sub(r"^([\w/.]+)=([^,\[({]+),.*", r"\1=\2", word) for word in overrides]
        first = [re.sub(r"=range\((-?\d+).*", r"=\1", word) for word in first]
        # What a tuner draws from: its lowest or first. The tuner's own keys are those of a package that is an extra.
        first = [re.sub(r"=(?:tag\(\w+,)?(?:interval|choice)\(([^,)]+).*", r"=\1", word) for word in first]
        first = [word for word in first if not word.startswith(("hydra/sweeper", "hydra.sweeper"))]
        return compose(first, found, tmp_path)

    return run
