"""Passes through the towers on a Ray cluster: tasks read and decode, a pool of actors holds the backbone.

Ray Data deals out the batches, holds back readers that run ahead, starts lost workers again and repeats what they had
in hand. The rows come back to this process, whose disk alone has to see the store.
"""

import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from rich.progress import track

from neglab.data.base import UnreadableImageError
from neglab.embedding.module import EmbeddingBatch, EmbeddingBatches, ImageJob
from neglab.passes.part_writer import PartSink, RowCollector, Rows
from neglab.passes.prediction import Devices
from neglab.passes.ray_cluster import check_versions, engine_failures, joined
from neglab.ranges import Count, NotNegative, Positive
from neglab.types import UserError

CALLS = 1000  # batches that a reading process takes before another replaces it
MOST_BLOCKS = 10_000  # of batches that Ray counts one by one
DIMENSIONS = {"positions": 1, "readable": 1, "images": 4, "ids": 2, "end": 1}  # of a batch's tensors

Row = dict[str, np.ndarray]  # of a table of Ray Data: each column holds one value


@dataclass(frozen=True, kw_only=True)
class RayDevices(Devices):
    """Images and texts are encoded on a Ray cluster; what follows runs in this process, on the device of `Devices`.

    Attributes:
        actors: how many hold the backbone; "auto": as many as the GPUs allow, or on half of the CPUs where there are
            none.
        gpus_per_actor: of a GPU; "auto": a whole one where the cluster has any.
        cpus_per_actor: that Ray counts for an actor; the other CPUs read and decode.
        patience: seconds without a finished batch, as where workers die again and again, after which a pass gives up.
    """

    actors: Count | Literal["auto"]
    gpus_per_actor: NotNegative | Literal["auto"]
    cpus_per_actor: Positive
    patience: Positive

    def encode(
        self,
        module: L.LightningModule,
        batches: EmbeddingBatches,
        sink: PartSink,
        num_workers: int,
        describe: Callable[[], bytes | None],
    ) -> None:
        """As `Devices.encode`; Ray settles how many processes read.

        Raises:
            KeyboardInterrupt: the user stopped it; finished rows are in the sink.
            UserError: images keep their size, there is no cluster, its machines have other versions or do not see the
                images, or they ran out of memory, disk or patience.
        """
        jobs = {job.name: job for job, _ in batches.batches}
        if any(isinstance(job, ImageJob) and job.keeps_size for job in jobs.values()):
            raise UserError(
                "trainer=ray hands on images of one size; got data.resize=device or data.decode=device. Set both to "
                "pillow, or choose trainer=gpus."
            )
        ray = joined()
        check_versions(ray)
        collector = RowCollector(sink)
        with engine_failures(ray):
            rows = self._pipeline(ray, module, batches).iter_rows()
            bar = track(rows, "Encoding", total=len(batches), disable=not self.progress_bar)
            with collector:
                for row in bar:
                    job = str(row["job"])
                    check_sight(jobs[job], row["index"][~row["readable"]].tolist(), str(row["machine"]))
                    collector.add(job, {name: torch.tensor(row[name]) for name in ("index", "embeddings")})

    def _pipeline(self, ray: ModuleType, module: L.LightningModule, batches: EmbeddingBatches) -> Any:
        """A dataset of the rows of each batch, in no order."""
        pool = self._pool(ray, len(batches))
        ray.data.DataContext.get_current().execution_no_progress_timeout_s = self.patience
        # In a list: Ray would otherwise hand over what they refer to, and not keep it.
        own_batches, own_module = [ray.put(batches)], [ray.put(module)]
        numbers = ray.data.range(len(batches), override_num_blocks=min(len(batches), MOST_BLOCKS))
        # A limit of calls, since Ray joins stages that ask for the same, and actors shall not read.
        options = {"num_cpus": 1, "max_calls": CALLS, "fn_kwargs": {"batches": own_batches}}
        read = numbers.map_batches(read_batch, batch_size=1, **options)
        return read.map_batches(
            Encoder,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=pool.actors),
            num_gpus=pool.gpus,
            num_cpus=self.cpus_per_actor,
            fn_constructor_args=(own_module, torch.get_num_threads(), pool.gpus > 0),
        )

    def _pool(self, ray: ModuleType, num_batches: int) -> "Pool":
        there = ray.cluster_resources()
        num_cpus, num_gpus = there.get("CPU", 0), there.get("GPU", 0)
        gpus = float(num_gpus > 0) if self.gpus_per_actor == "auto" else self.gpus_per_actor
        most = int(num_gpus / gpus) if gpus else int((num_cpus - 1) / self.cpus_per_actor)
        if most < 1 or num_cpus < 1 + self.cpus_per_actor:
            raise UserError(
                f"An actor takes {self.cpus_per_actor:g} CPUs and {gpus:g} GPUs, and a reader 1 CPU; the Ray cluster "
                f"has {num_cpus:g} CPUs and {num_gpus:g} GPUs. Lower trainer.cpus_per_actor or trainer.gpus_per_actor."
            )
        wanted = (most if gpus else (most + 1) // 2) if self.actors == "auto" else min(self.actors, most)
        return Pool(min(wanted, num_batches), gpus)


@dataclass(frozen=True)
class Pool:
    """How many actors there are, and the GPUs of each."""

    actors: int
    gpus: float


def check_sight(job: Any, positions: list[int], machine: str) -> None:
    """Raise a UserError where this process can read an image that another machine could not."""
    if not isinstance(job, ImageJob):
        return
    for position in positions:
        try:
            job.read(position)
        except UnreadableImageError:
            continue
        raise UserError(
            f"All machines of the Ray cluster must see the images at one path; {machine} cannot read "
            f"{job.images.sources[position]}, which this one can. Put them on a shared file system."
        )


@lru_cache(maxsize=1)
def _held(reference: Any) -> Any:
    """What lies in the cluster's memory: a process that reads many batches fetches their list once."""
    import ray  # pyright: ignore[reportMissingImports]

    return ray.get(reference)


def read_batch(row: Row, batches: list[Any]) -> Row:
    """Read and decode one batch: the row of its number."""
    return as_row(_held(batches[0])[int(row["id"][0])])


class Encoder:
    """An actor: it holds the module, on its GPU where it has one."""

    def __init__(self, module: list[Any], num_threads: int, on_gpu: bool) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes
        torch.set_num_threads(num_threads)  # of the launching process: another number would move the last bits
        self.device = torch.device("cuda" if on_gpu else "cpu")
        held: Any = ray.get(module[0])
        self.module: L.LightningModule = held.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, row: Row) -> Row:
        batch = as_batch(row)
        job, rows = self.module.predict_step(batch._replace(**_moved(batch, self.device)), 0)
        made: Rows = {name: tensor.cpu() for name, tensor in rows.items()}
        found = {name: tensor.numpy()[None] for name, tensor in (*made.items(), ("readable", batch.readable))}
        return {"job": np.array([job]), "machine": np.array([socket.gethostname()]), **found}


def as_row(batch: EmbeddingBatch) -> Row:
    """A batch as Ray Data carries it: a table of one row, in which an empty tensor stands for None."""
    tensors = {name: getattr(batch, name) for name in DIMENSIONS}
    nothing = {name: torch.zeros((0,) * DIMENSIONS[name]) for name, tensor in tensors.items() if tensor is None}
    return {
        "job": np.array([batch.job]),
        **{name: tensor.numpy()[None] for name, tensor in (tensors | nothing).items()},
    }


def as_batch(row: Row) -> EmbeddingBatch:
    """The inverse of `as_row`."""
    tensors = {name: torch.from_numpy(row[name][0]) for name in DIMENSIONS}
    unused = ("images",) if tensors["end"].numel() else ("ids", "end")
    return EmbeddingBatch(job=str(row["job"][0]), **{**tensors, **dict.fromkeys(unused)})


def _moved(batch: EmbeddingBatch, device: torch.device) -> dict[str, Any]:
    tensors = {name: getattr(batch, name) for name in DIMENSIONS}
    return {name: None if tensor is None else tensor.to(device) for name, tensor in tensors.items()}
