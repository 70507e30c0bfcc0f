"""Hands the results of a pass to its sink in parts: a killed pass loses little, a long one leaves few files."""

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from neglab.mapped import Rows
from neglab.types import UserError

# A part is written when it has this many bytes or this age.
PART_BYTES = 64 * 2**20
PART_SECONDS = 10.0


@runtime_checkable
class PartSink(Protocol):
    """Where a rank's finished rows go. It must be picklable: it travels to the spawned processes."""

    def __call__(self, job: str, rows: Rows) -> None: ...


class RowCollector:
    """Collects what `predict_step` returns, job by job, and hands it to the sink in parts.

    Used as a context, it hands over the rest at the end, after an error too.
    """

    def __init__(self, sink: PartSink) -> None:
        self.sink = sink
        self.waiting: dict[str, list[Rows]] = {}
        self.waiting_bytes = 0
        self.last_write = time.monotonic()

    def add(self, job: str, rows: Rows) -> None:
        self.waiting.setdefault(job, []).append(
            rows
        )  # left on the device: fetching them here would wait for each batch
        self.waiting_bytes += sum(tensor.nbytes for tensor in rows.values())
        if self.waiting_bytes > PART_BYTES or time.monotonic() - self.last_write > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for job, parts in waiting.items():
            self.sink(job, {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]})
        self.waiting_bytes, self.last_write = 0, time.monotonic()

    def __enter__(self) -> "RowCollector":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # Where a full disk has ended it, the rest does not fit either.
        with suppress(UserError) if kind is not None else nullcontext():
            self.flush()


class PartWriter(BasePredictionWriter):
    """Hands what `predict_step` returns, (job, rows), to the sink in parts."""

    def __init__(self, sink: PartSink) -> None:
        super().__init__(write_interval="batch")
        self.collector = RowCollector(sink)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: tuple[str, Rows],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        self.collector.add(*prediction)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.collector.flush()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.collector.__exit__(type(exception))
