"""Processes that torchrun or srun started together: this one's place among them, and the connection between them.

The connection is torch's key-value store at the first process. Only JSON goes over it, read into typed records: what
is on the network may come from anyone, and must not name code. Imports torch only where there are several processes.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from threading import Event, Thread, Timer
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.json import encode

from neglab.errors import UserError
from neglab.files import DamagedError, decode

# Rank, number of processes and rank on the own machine, as torchrun and srun say them. A job script that SLURM runs
# without srun has a rank too, but is no step and has no others.
VARIABLES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
PAUSE = 0.1  # seconds between two looks at the key-value store, so that Ctrl-C works
JOIN = 300.0  # seconds in which all processes must have come
BEAT = 5.0  # seconds between two signs of life
SILENCE = 300.0  # seconds without one after which a process counts as lost
REMARK = 10.0  # seconds of waiting after which a person is told for whom

logger = logging.getLogger(__name__)

Record = TypeVar("Record")


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


class Line:
    """The connection of the processes: a key-value store, and a sign of life of each."""

    def __init__(self, store: Any, place: Launch) -> None:
        self.store, self.place = store, place
        self._over = Event()
        store.add(f"beats of {place.rank}", 1)
        Thread(target=self._beat, daemon=True).start()

    def tell(self, key: str, record: Struct) -> None:
        self.store.set(key, encode(record))

    def announce(self, message: Struct) -> int:
        """Tell all others the next message; returns its number."""
        number = self.store.add("messages", 1)
        self.tell(f"message {number}", message)
        return number

    def hear(self, key: str, kind: type[Record], rank: int) -> Record:
        """Wait for what another process tells, as long as it shows signs of life.

        Raises:
            UserError: it is lost, or tells something else.
            RuntimeError: the connection is.
        """
        beats, heard = -1, time.monotonic()
        start, remarked = heard, rank == 0  # the first works alone for long
        while not self.store.check([key]):
            time.sleep(PAUSE)
            now, counted = time.monotonic(), self.store.add(f"beats of {rank}", 0)
            if counted != beats:
                beats, heard = counted, now
            if now - heard > SILENCE:
                raise UserError(
                    f"Each process must show signs of life; number {rank} of {self.place.num_processes} has shown none "
                    f"for {SILENCE:.0f} seconds. What was finished is in the store: start all again."
                )
            if not remarked and now - start > REMARK:
                remarked = True
                logger.warning("Waiting for process %d, which is still at work", rank)
        try:
            return decode(self.store.get(key), kind)
        except DamagedError as error:
            raise UserError(
                f"Processes must be of one neglab; what number {rank} says is no message ({error}). Is another program "
                "at the same MASTER_ADDR and MASTER_PORT?"
            ) from error

    def gather(self) -> None:
        """Wait until all processes have come.

        Raises:
            UserError: one has not come in time.
        """
        start = time.monotonic()
        while absent := [i for i in range(self.place.num_processes) if not self.store.add(f"beats of {i}", 0)]:
            if time.monotonic() - start > JOIN:
                self.close()
                raise UserError(f"All processes must come; {len(absent)} have not within {JOIN:.0f} seconds.")
            time.sleep(PAUSE)

    def close(self) -> None:
        self._over.set()

    def _beat(self) -> None:
        with suppress(RuntimeError):  # the connection: its other end has gone
            while not self._over.wait(BEAT):
                self.store.add(f"beats of {self.place.rank}", 1)


@cache
def connect(place: Launch) -> Line:
    """torchrun holds the key-value store already; under srun the first process does."""
    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    else:
        host, port = _slurm_address()
    options: dict[str, Any] = {"world_size": place.num_processes, "wait_for_workers": False}
    if place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        options |= {"is_master": True, "master_listen_fd": _listen(host, port)}
    waiting = _waiting(place, f"{host}:{port}")
    try:
        with _said(waiting):
            store = TCPStore(host, port, timeout=timedelta(seconds=JOIN), **options)
            line = Line(PrefixStore(f"neglab {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store), place)
            line.gather()
    except RuntimeError as error:  # torch's errors of networks and stores
        raise UserError(f"The first process must be within reach. {waiting}") from error
    except UserError as error:
        raise UserError(f"{error} {waiting}") from None
    return line


def _listen(host: str, port: int) -> int:
    """A socket at the one address that the others connect to, not at all that the machine has."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise UserError(
                f"The first process must be able to listen at {host}:{port}; it cannot: {error.strerror}. Set "
                "MASTER_ADDR and MASTER_PORT to an address of its machine, the same in all processes."
            ) from error
        listening.listen()
        return listening.detach()


def _slurm_address() -> tuple[str, int]:
    """What every process of a SLURM job finds by itself, and two jobs hardly share."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    port = 20_000 + int(os.environ["SLURM_JOB_ID"]) % 10_000
    if os.environ.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1", port
    # The machines may be written as `node[3-5,9]`.
    return SLURMEnvironment.resolve_root_node_address(os.environ["SLURM_STEP_NODELIST"]), port


def _waiting(place: Launch, address: str) -> str:
    """Whom this process waits for, and how to run without them."""
    variable = next(names[0] for names in VARIABLES if all(name in os.environ for name in names))
    launcher = "srun" if variable.startswith("SLURM") else "torchrun"
    others = "the others" if place.rank == 0 else "the first, process 0"
    return (
        f"Process {place.rank} of the {place.num_processes} that {launcher} started together waits for {others}, at "
        f"{address}. Start all by one `{launcher} ... neglab ...`. Where the others do not run neglab, as in an "
        f"interactive step, run this one by itself: env -u {variable} neglab ..."
    )


@contextmanager
def _said(message: str) -> Iterator[None]:
    """Say what is waited for once it takes long, even while a library blocks."""
    timer = Timer(REMARK, lambda: sys.stderr.write(f"{message}\n"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
