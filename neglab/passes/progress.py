"""How far a pass is, in images and texts, with a rate: a bar on a terminal, else a line now and then."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 30.0  # between two lines where there is no terminal


class ItemProgress(Callback):
    """Counts what `predict_step` returns, (job, rows). Of several processes the first shows it for all.

    Args:
        contents: by job, what its items are called and how many there are, in the order of the pass.
    """

    def __init__(self, contents: dict[str, tuple[str, int]]) -> None:
        self.contents = contents
        self.done: dict[str, int] = {}
        self.began = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        self.tasks: dict[str, Any] = {}

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = self.last_line = time.monotonic()
        console = Console(stderr=True)
        if not trainer.is_global_zero or not console.is_terminal:
            return
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        for unit in dict.fromkeys(unit for unit, _ in self.contents.values()):
            self.tasks[unit] = self.bar.add_task(unit, total=self._total(unit), rate="")
        self.bar.start()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        job, rows = outputs
        unit = self.contents[job][0]
        # The other processes are as far as this one, but for their last batch.
        count = len(next(iter(rows.values()))) * trainer.world_size
        self.done[unit] = min(self.done.get(unit, 0) + count, self._total(unit))
        if self.bar is not None:
            self.bar.update(self.tasks[unit], completed=self.done[unit], rate=f"{self._rate(unit):,.0f}/s")
        elif trainer.is_global_zero and time.monotonic() - self.last_line > SECONDS:
            self._line()

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        elif trainer.is_global_zero and time.monotonic() - self.began > SECONDS:
            self._line()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _total(self, unit: str) -> int:
        return sum(count for name, count in self.contents.values() if name == unit)

    def _rate(self, unit: str) -> float:
        return self.done[unit] / max(1e-9, time.monotonic() - self.began)

    def _line(self) -> None:
        """For a log: no bar, no colours."""
        self.last_line = time.monotonic()
        parts = [
            f"{done:,} of {self._total(unit):,} {unit}, {self._rate(unit):,.0f}/s" for unit, done in self.done.items()
        ]
        sys.stderr.write("; ".join(parts) + "\n")
