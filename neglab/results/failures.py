"""Runs that failed: each leaves its reason in its folder, and a sweep goes on without it."""

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from neglab.embedding.store import write_atomically
from neglab.files import read_bytes

REASON = "failed.txt"
BEFORE_TRACEBACK = "\n\nTraceback of the error, for whoever mends it:\n"


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
        lines = "".join(traceback.format_exception(error))
        message = f"{type(error).__name__}: {error}{BEFORE_TRACEBACK}{lines}"
    write_atomically(folder / REASON, f"{message}\n".encode(errors="backslashreplace"))


def forget_failure(folder: Path) -> None:
    """A job that begins anew has not failed."""
    (folder / REASON).unlink(missing_ok=True)


def reason_of(folder: Path) -> str:
    """What stopped the job of a folder, without a traceback; empty: nothing did, or it is not known."""
    try:
        content = read_bytes(folder / REASON)
    except OSError:
        return ""
    return content.decode(errors="replace").partition(BEFORE_TRACEBACK)[0].strip()


def failures(folder: Path) -> dict[str, list[str]]:
    """By reason, the folders of the jobs below a sweep's folder that failed."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob(REASON)):
        reason = reason_of(path.parent)
        found.setdefault(reason, []).append(str(path.parent.relative_to(folder)))
    return found


def describe_failures(found: Mapping[str, list[str]]) -> str:
    """For people."""
    count = sum(map(len, found.values()))
    lines = [f"{', '.join(jobs)}: {reason}" for reason, jobs in found.items()]
    return "\n".join([f"{count} {'job' if count == 1 else 'jobs'} failed; what others found is kept.", *lines])
