"""environment.json: which code, libraries and devices computed a run, and the line that was typed; not who or where."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig

from neglab import __version__
from neglab.compose import PACKAGE
from neglab.embedding.store import write_atomically

LIBRARIES = ("torch", "lightning", "torchmetrics", "open_clip_torch", "transformers", "numpy")
CALLED = "none: called from Python"


def environment() -> dict[str, str]:
    """What computes, by name, and the command; no user, no host, no environment variable."""
    return {"command": typed_command(), **_machine(), "threads": str(torch.get_num_threads())}


def write_environment(folder: Path) -> dict[str, str]:
    """Write environment.json into a run's folder, before anything can fail; returns what it says.

    Raises:
        UserError: the disk is full.
    """
    found = environment()
    write_atomically(folder / "environment.json", (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    return found


def typed_command() -> str:
    """The line as it was typed, before the command line interface rewrote it; in a sweep that of the whole sweep.

    A launcher's worker was started with another line: there it is the command of the one job.
    """
    script = sys.argv[0]
    if Path(script).stem == "neglab" and script in sys.orig_argv:
        return shlex.join(["neglab", *sys.orig_argv[sys.orig_argv.index(script) + 1 :]])
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        return shlex.join(["neglab", str(hydra.job.config_name), *hydra.overrides.task])
    return CALLED


@cache  # a sweep's jobs share it
def _machine() -> dict[str, str]:
    return {
        "neglab": __version__,
        "commit": commit(PACKAGE.parent),
        **{name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": f"{os.cpu_count()} x {_processor()}",
        "gpus": _gpus(),
    }


def commit(checkout: Path) -> str:
    """The checkout's commit, with "-dirty" where files differ from it; an installed package has none."""
    if not (checkout / ".git").exists():
        return "none: not run from a checkout"
    # No locks: another process may be committing.
    describe = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(describe, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: git cannot tell"


def _gpus() -> str:
    """Those that this process may use."""
    try:
        names = Counter(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    except RuntimeError as error:  # a driver that is too old stops no run on the CPU
        return f"unknown: {error}"
    return ", ".join(f"{count} x {name}" for name, count in names.items()) or "none"


def _processor() -> str:
    """The processor's name: Python knows only its family on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
