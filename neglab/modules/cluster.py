"""Processes that torchrun or srun started together, one per device: the first runs the command, the others help it.

The first alone reads the config, looks in the store, locks, filters, writes, logs and prints. A piece of work that it
shares, a predict pass, it leaves as a file for the others; torch's key-value store at the first process tells them of
it. There is no process group: to all libraries the first process is one by itself. Imports torch only where there are
several processes.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from socket import gethostname
from threading import Timer
from traceback import format_exception
from typing import Any, NamedTuple

from neglab.errors import UserError

# Rank, number of processes and rank on the own machine, as torchrun and srun say them. A job script that SLURM runs
# without srun has a rank too, but is no step and has no others.
VARIABLES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
PAUSE = 0.1  # seconds between two looks at the key-value store: Ctrl-C works, and there is no time limit
PATIENCE = 10.0  # seconds of waiting for the others to start, after which it is said
LATEST = timedelta(minutes=30)  # by then they have started, or never will
FAREWELL = 20.0  # seconds that the first process, which holds the key-value store, gives the others to read its end
STOPPED = 130  # the exit status after Ctrl-C


class Launch(NamedTuple):
    """Which of the processes started together this one is.

    Attributes:
        rank: among all.
        num_processes: of all machines.
        local_rank: among those of this machine.
    """

    rank: int
    num_processes: int
    local_rank: int


def launch() -> Launch | None:
    """This process's place among those that torchrun or srun started; None: it was started by itself."""
    for names in VARIABLES:
        if all(name in os.environ for name in names):
            return Launch(*(int(os.environ[name]) for name in names))
    return None


def several_processes() -> bool:
    """Whether torchrun or srun started others beside this one."""
    place = launch()
    return place is not None and place.num_processes > 1


def together(work: Callable[[], Any]) -> Any:
    """Do `work` in the first process while the others follow it into what it shares.

    Returns:
        What `work` returns; None in the others.

    Raises:
        SystemExit: in the others, where the first fails: they end with its exit status.
        UserError: some of them have not started.
    """
    place = launch()
    if place is None or place.num_processes == 1:
        return work()
    store = _key_value_store(place)
    if place.rank == 0:
        return _lead(work, store, place.num_processes - 1)
    if status := _follow(store, place.rank):
        raise SystemExit(status)
    return None


def share(work: Callable[[], None], folder: Path) -> None:
    """Do a picklable piece of work in all processes at once; where there is one, in that.

    A process that fails waits for the others, so that what they finish is not lost.

    Args:
        work: what each does.
        folder: a new one that all machines should see.

    Raises:
        Exception: what `work` raised here, or else in the first of the others that failed.
        UserError: a machine does not see the folder.
    """
    place = launch()
    if place is None or place.num_processes == 1:
        work()
        return
    store = _key_value_store(place)
    path = folder / "work.pickle"
    path.write_bytes(pickle.dumps(work))
    number = store.add("messages", 1)
    _tell(store, f"message {number}", path)
    failures = [_failure(work)]
    for rank in range(1, place.num_processes):
        failures.append(_await(store, f"outcome {number} of {rank}"))
    if failure := next(filter(None, failures), None):
        raise failure


def _key_value_store(place: Launch) -> Any:
    """torchrun holds it already; under srun the first process does."""
    from torch.distributed.rendezvous import rendezvous

    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    else:
        address = _slurm_address()
    with _said(_waiting(place, address)):
        try:
            store, *_ = next(rendezvous(f"tcp://{address}", place.rank, place.num_processes, timeout=LATEST))
        except RuntimeError as error:  # torch's errors of networks and stores
            raise UserError(f"The processes started together must all be there. {_waiting(place, address)}") from error
    return store


def _waiting(place: Launch, address: str) -> str:
    """Whom this process waits for, and how to run without them."""
    variable = next(names[0] for names in VARIABLES if all(name in os.environ for name in names))
    launcher = "srun" if variable.startswith("SLURM") else "torchrun"
    others = "the others" if place.rank == 0 else "the first, process 0"
    return (
        f"Process {place.rank} of the {place.num_processes} that {launcher} started together waits for {others}, at "
        f"{address}. Where they do not run neglab, as in an interactive step, run this one by itself: "
        f"env -u {variable} neglab ..."
    )


@contextmanager
def _said(message: str) -> Iterator[None]:
    """Say what is waited for, once it takes long."""
    timer = Timer(PATIENCE, lambda: sys.stderr.write(f"{message}\n"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _slurm_address() -> str:
    """What every process of a SLURM job finds by itself, and two jobs hardly share."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    # The machines may be written as `node[3-5,9]`.
    first = SLURMEnvironment.resolve_root_node_address(os.environ["SLURM_STEP_NODELIST"])
    return f"{first}:{20_000 + int(os.environ['SLURM_JOB_ID']) % 10_000}"


def _lead(work: Callable[[], Any], store: Any, num_others: int) -> Any:
    status: Any = 1
    try:
        result = work()
        status = 0
    except SystemExit as stop:
        status = stop.code
        raise
    finally:
        _tell(store, f"message {store.add('messages', 1)}", status)
        latest = time.monotonic() + FAREWELL
        while store.add("gone", 0) < num_others and time.monotonic() < latest:
            time.sleep(PAUSE)
    return result


def _follow(store: Any, rank: int) -> Any:
    """Join in what the first process shares, until it ends; returns its exit status."""
    import torch

    try:
        for number in count(1):
            message = _await(store, f"message {number}")
            if not isinstance(message, Path):
                with suppress(RuntimeError):  # the first process may be gone already
                    store.add("gone", 1)
                return message
            failure = _failure(lambda path=message: _load(path)())
            if failure and not isinstance(failure, UserError | KeyboardInterrupt):
                failure = RuntimeError(
                    f"In process {rank}: {''.join(format_exception(failure))}"
                )  # others may not pickle
            _tell(store, f"outcome {number} of {rank}", failure)
            torch.cuda.empty_cache()  # the first process may want this GPU too, for a language model
    except KeyboardInterrupt:
        return STOPPED
    except RuntimeError:  # the connection: the first process has died, and says why
        return 1


def _load(path: Path) -> Callable[[], None]:
    if not path.is_file():
        raise UserError(
            f"The store must lie where all machines see it; {gethostname()} does not see {path.parent}. "
            "Set paths.store (NEGLAB_STORE) to an absolute path on a shared file system."
        )
    return pickle.loads(path.read_bytes())


def _failure(work: Callable[[], None]) -> BaseException | None:
    """Do the work; returns what it raises."""
    try:
        work()
    except BaseException as error:
        return error
    return None


def _tell(store: Any, key: str, content: Any) -> None:
    store.set(key, pickle.dumps(content))


def _await(store: Any, key: str) -> Any:
    while not store.check([key]):
        time.sleep(PAUSE)
    return pickle.loads(store.get(key))
