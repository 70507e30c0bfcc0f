"""The jobs of a sweep that failed: each leaves its reason in its folder, and the sweep goes on without it."""

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from neglab.embedding.store import write_atomically

REASON = "failed.txt"


def record_failure(folder: Path, error: Exception, message: str | None) -> None:
    """Leave the reason in a job's folder.

    Args:
        folder: of the job.
        error: what stopped it.
        message: of the mistake that the user can mend; None: it is ours, and the traceback is shown.

    Raises:
        UserError: the disk is full.
    """
    if message is None:
        traceback.print_exception(error, file=sys.stderr)
        message = f"{type(error).__name__}: {error}"
    write_atomically(folder / REASON, f"{message}\n".encode(errors="backslashreplace"))


def forget_failure(folder: Path) -> None:
    """A job that begins anew has not failed."""
    (folder / REASON).unlink(missing_ok=True)


def failures(folder: Path) -> dict[str, list[str]]:
    """By reason, the folders of the jobs below a sweep's folder that failed."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob(REASON)):
        reason = path.read_text(encoding="utf-8", errors="replace").strip()
        found.setdefault(reason, []).append(str(path.parent.relative_to(folder)))
    return found


def describe_failures(found: Mapping[str, list[str]]) -> str:
    """For people."""
    count = sum(map(len, found.values()))
    lines = [f"{', '.join(jobs)}: {reason}" for reason, jobs in found.items()]
    return "\n".join([f"{count} {'job' if count == 1 else 'jobs'} failed; what others found is kept.", *lines])
