"""The first of the processes that torchrun or srun started runs the command, and the others help it.

It alone reads lists of images, looks in the store, locks, filters, scores, writes, logs and prints. A pass through the
towers it describes in a JSON file that the others read into typed records, for which they use the backbone of their own
config: neither the network nor a shared folder can hand them code. There is no process group: to all libraries the
first process is one by itself.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from socket import gethostname
from traceback import format_exception
from typing import Annotated, Any

from msgspec import Meta, Struct

from neglab.errors import UserError
from neglab.files import read_bytes
from neglab.passes.processes import PAUSE, Line, connect, launch

FAREWELL = 20.0  # seconds that the first process, which may hold the key-value store, gives the others to read its end
STOPPED = 130  # the exit status after Ctrl-C


class Message(Struct):
    """What the first process tells the others: a task's file to help with, or that all is done.

    Attributes:
        task: the file; None: all is done.
        status: with which exit status.
    """

    task: str | None
    status: Annotated[int, Meta(ge=0, le=255)] = 0


class Outcome(Struct):
    """How another process fared with a task.

    Attributes:
        mistake: message of a user's mistake.
        failure: traceback of any other error.
        stopped: Ctrl-C.
    """

    mistake: str | None = None
    failure: str | None = None
    stopped: bool = False


def together(work: Callable[[], Any], help_with: Callable[[bytes], None]) -> Any:
    """Do `work` in the first process while the others help with the tasks that it shares.

    Args:
        work: of the first process.
        help_with: of the others; takes a task's description as the first process gave it to `share`.

    Returns:
        What `work` returns; None in the others.

    Raises:
        SystemExit: in the others, where the first fails: they end with its exit status.
        UserError: some of them have not started.
    """
    place = launch()
    if place is None or place.num_processes == 1:
        return work()
    line = connect(place)
    if place.rank == 0:
        return _lead(work, line)
    if status := _follow(line, help_with):
        raise SystemExit(status)
    return None


def share(task: bytes, own_work: Callable[[], None], folder: Path) -> None:
    """Do a task in all processes at once.

    A process that fails waits for the others, so that what they finish is not lost.

    Args:
        task: its description, for the others.
        own_work: this process's share.
        folder: a new one that all machines should see.

    Raises:
        Exception: what `own_work` raised.
        RuntimeError: another process failed.
        UserError: a machine does not see the folder, or another process met a user's mistake or is lost.
    """
    place = launch()
    if place is None:
        raise RuntimeError("there is no other process")
    line, path = connect(place), folder / "task.json"
    path.write_bytes(task)
    number = line.announce(Message(str(path)))
    error = _error_of(own_work)
    outcomes = [line.hear(f"outcome {number} of {rank}", Outcome, rank) for rank in range(1, place.num_processes)]
    if error is not None:
        raise error
    for rank, outcome in enumerate(outcomes, start=1):
        if outcome.stopped:
            raise KeyboardInterrupt
        if outcome.mistake is not None:
            raise UserError(outcome.mistake)
        if outcome.failure is not None:
            raise RuntimeError(f"In process {rank}: {outcome.failure}")


def _lead(work: Callable[[], Any], line: Line) -> Any:
    status = 1
    try:
        result = work()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    finally:
        line.announce(Message(None, status & 255))
        latest = time.monotonic() + FAREWELL
        while line.store.add("gone", 0) < line.place.num_processes - 1 and time.monotonic() < latest:
            time.sleep(PAUSE)
        line.close()
    return result


def _follow(line: Line, help_with: Callable[[bytes], None]) -> int:
    """Help with what the first process shares, until it ends; returns its exit status."""
    try:
        for number in count(1):
            message = line.hear(f"message {number}", Message, rank=0)
            if (task := message.task) is None:
                with suppress(RuntimeError):  # the first process may be gone already
                    line.store.add("gone", 1)
                return message.status
            error = _error_of(lambda task=task: help_with(_read(Path(task))))
            line.tell(f"outcome {number} of {line.place.rank}", _outcome(error))
    except KeyboardInterrupt:
        return STOPPED
    except RuntimeError:  # the connection: the first process has died, and says why
        return 1
    finally:
        line.close()
    return 0


def _outcome(error: BaseException | None) -> Outcome:
    if isinstance(error, UserError):
        return Outcome(mistake=str(error))
    if error is None or isinstance(error, KeyboardInterrupt):
        return Outcome(stopped=error is not None)
    return Outcome(failure="".join(format_exception(error)))


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise UserError(
            f"The store must lie where all machines see it; {gethostname()} does not see {path.parent}. "
            "Set paths.store (NEGLAB_STORE) to an absolute path on a shared file system."
        ) from error


def _error_of(work: Callable[[], None]) -> BaseException | None:
    """Do the work; returns what it raises."""
    try:
        work()
    except BaseException as error:
        return error
    return None
