"""A Ray cluster: joining it, what its machines must have in common, and one message for what goes wrong on them."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType

from neglab.passes.prediction import RAISED_ELSEWHERE
from neglab.types import UserError
from neglab.weights.loading import brief

ANSWER = 60.0  # seconds in which a machine of the cluster must say what it has installed
REACH = 10.0  # seconds in which the cluster's address must answer
LOST = ("The actor died", "ActorDiedError", "NodeDiedError", "WorkerCrashedError")
KEPT = "What was finished is kept: the same command goes on from there."


def joined() -> ModuleType:
    """Ray, once this process belongs to a cluster: that of RAY_ADDRESS, one that runs here, or else its own.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a killed worker is no news: it is started again
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("trainer=ray needs Ray. Install it: pip install 'neglab[ray]'") from error
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"RAY_ADDRESS must be that of a running Ray cluster, such as HOST:6379; got {address!r}: {error} Start "
                "one with `ray start --head`, or unset RAY_ADDRESS to run on this machine alone."
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would log is raised
    return ray


def _knock(address: str | None) -> None:
    """Raise an OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=REACH).close()


def check_versions(ray: ModuleType) -> None:
    """Raise a UserError where a machine of the cluster lacks neglab or has another version of it or of torch."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            # A function of the standard library, so that a machine without neglab can answer.
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ask = ray.remote(version).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
            asked |= {(node["NodeManagerHostname"], name): ask.remote(name) for name in own_versions()}
    for (machine, name), answer in asked.items():
        try:
            found = ray.get(answer, timeout=ANSWER)
        except ray.exceptions.RayError as error:
            found = None if "PackageNotFoundError" in str(error) else f"no answer ({first_line(error)})"
        if found != (own := own_versions()[name]):
            raise UserError(
                f"All machines of the Ray cluster must have {name} {own}; {machine} has {found or 'none'}. "
                "Install the same there, in the environment from which `ray start` is called."
            )


def own_versions() -> dict[str, str]:
    """What must be the same on all machines."""
    return {name: version(name) for name in ("neglab", "torch")}


def first_line(error: BaseException) -> str:
    """Of a library's error; below it stands the other machine's traceback."""
    return brief(str(error).strip().partition("\n")[0] or type(error).__name__)


@contextmanager
def engine_failures(ray: ModuleType) -> Iterator[None]:
    """Around a pass: what went wrong on other machines becomes one message."""
    try:
        yield
    except ray.data.exceptions.ExecutionTimeoutError as error:
        raise UserError(
            "The Ray cluster stands still: no batch was finished within trainer.patience. Its workers may die again "
            f"and again, as for want of memory, or wait for machines that do not come. {KEPT}"
        ) from error
    except (ray.exceptions.RayError, ray.data.exceptions.SystemException) as error:
        raise told(error) from error


def told(error: BaseException) -> Exception:
    """What to raise for an error of Ray, whose text holds the traceback of the worker that met it."""
    text = str(error)
    _, mark, message = text.rpartition(RAISED_ELSEWHERE)
    if mark:
        return UserError(message.partition("\n\n")[0].strip())
    if "OutOfMemoryError" in text or "MemoryError" in text:
        return UserError(
            f"A worker of the Ray cluster ran out of memory ({first_line(error)}). Lower data.image_batch_size or "
            f"raise trainer.cpus_per_actor, so that fewer run beside each other. {KEPT}"
        )
    if "OutOfDiskError" in text or "No space left on device" in text or "ObjectStoreFullError" in text:
        return UserError(
            f"A machine of the Ray cluster has a full disk ({first_line(error)}). Free some space there, or start "
            f"Ray with --temp-dir on another disk. {KEPT}"
        )
    if "ModuleNotFoundError" in text:
        return UserError(f"A machine of the Ray cluster lacks a package: {text.rpartition('ModuleNotFoundError: ')[2]}")
    if any(sign in f"{type(error).__name__}: {text}" for sign in LOST):
        return UserError(f"A worker of the Ray cluster is lost ({first_line(error)}). {KEPT}")
    return RuntimeError(f"in a worker of the Ray cluster: {text}")
