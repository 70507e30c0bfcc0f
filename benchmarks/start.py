"""How long `neglab --help` takes, beside a bare Python, and a run until its first progress bar shows."""

import compileall
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.config_files import PACKAGE

SCRIPT = str(Path(sys.executable).with_name("neglab"))
BAR = "━".encode()


def until(command: list[str], sign: bytes, store: str) -> None:
    """Run a command in a terminal of its own until it shows the sign, or its end where there is none.

    Raises:
        RuntimeError: it ended without.
    """
    ours, its = pty.openpty()  # without a terminal a bar shows only when it is full
    environment = {**os.environ, "NEGLAB_STORE": store, "WANDB_MODE": "offline"}
    process = subprocess.Popen(command, cwd=store, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    try:
        while sign not in shown:
            shown += os.read(ours, 4096)
    except OSError as error:  # the terminal is closed: the process has ended
        raise RuntimeError(f"{command} ended without {sign!r}: {shown[-500:]!r}") from error
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def measure(repeats: int = 5, with_run: bool = True) -> Figure:
    """On the shipped model. A second run finds all embeddings in the store and shows its table instead of a bar."""
    compileall.compile_dir(PACKAGE, quiet=1)  # as pip does, and the first run from a checkout where it may
    python = [sys.executable, "-c", "pass"]
    with tempfile.TemporaryDirectory() as folder:
        short = {
            "python": lambda: subprocess.run(python, check=True),
            "help": lambda: until([SCRIPT, "--help"], b"--hydra-help", folder),
            "command help": lambda: until([SCRIPT, "detect", "--help"], b"GROUP=OPTION", folder),
        }
        times = seconds(short, repeats)
        ratios = [
            Ratio("neglab --help, seconds", times["help"], 1, at_most=True),
            Ratio("neglab detect --help, seconds", times["command help"], 1, at_most=True),
            Ratio("neglab --help / python -c pass", times["help"] / times["python"]),
        ]
        if with_run:
            run = [SCRIPT, "method=mcm", "logger=csv"]
            times["empty store"] = seconds({"": lambda: until(run, BAR, folder)}, 1)[""]
            subprocess.run(run, cwd=folder, env={**os.environ, "NEGLAB_STORE": folder}, check=True, capture_output=True)
            times["warm store"] = seconds({"": lambda: until(run, b"AUROC", folder)}, 1)[""]
            ratios += [
                Ratio("first progress bar, empty store, seconds", times["empty store"], 8, at_most=True),
                Ratio("table, warm store, seconds", times["warm store"]),
            ]
    return Figure(
        what="start: --help, and `neglab method=mcm` on the shipped benchmark",
        plain="a bare Python",
        ratios=tuple(ratios),
        difference=0.0,
        tolerance=0.0,
        details={"seconds": times},
    )


if __name__ == "__main__":
    report("start", measure)
