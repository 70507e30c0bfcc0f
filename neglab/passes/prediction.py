"""One predict pass over all devices: whole batches per rank, one shard of rows per rank, merged by index."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar
from pydantic import Field
from torch.utils.data import DataLoader, Dataset, Sampler

from neglab.passes.cluster import share
from neglab.passes.part_writer import PartSink, PartWriter
from neglab.passes.processes import Launch, launch, several_processes
from neglab.passes.progress import ItemProgress
from neglab.types import UserError

# Lightning's remarks on devices and its advertisements are not about a person's run; warnings and errors still show.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)
UNWANTED_ADVICE = (
    "does not have many workers",  # scoring reads memory and needs none
    "persistent_workers",
    "Couldn't infer the batch indices",  # rows bring their own index
    r"isinstance\(treespec, LeafSpec\)",  # between Lightning and torch
)
for advice in UNWANTED_ADVICE:
    warnings.filterwarnings("ignore", f".*{advice}.*")

RAISED_ELSEWHERE = f"{UserError.__module__}.{UserError.__name__}: "


class RankBatches(Sampler[int]):
    """Rank r of W takes batches r, r+W, ...: every batch is the one that a single process would see, bit for bit.

    Lightning's own sampler deals out items, so batches and with them the last bits of the results would change.
    """

    def __init__(self, source: Sized) -> None:
        self.num_batches = len(source)

    def __iter__(self) -> Iterator[int]:
        rank, world = _rank_and_world()
        return iter(range(rank, self.num_batches, world))

    def __len__(self) -> int:
        rank, world = _rank_and_world()
        return len(range(rank, self.num_batches, world))


def _rank_and_world() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class SameThreads(Callback):
    """Gives every spawned process the launching one's thread count: a product split over threads sums in their order.

    Lightning would divide the cores among the processes, and the last bits of the results would change.
    """

    def __init__(self) -> None:
        self.num_threads = torch.get_num_threads()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(self.num_threads)


@dataclass(frozen=True)
class Devices:
    """Where predict passes run: the options of the Lightning Trainer that matter to them.

    Attributes:
        accelerator: "auto", "cpu", "gpu", ...
        devices: how many, or "auto".
        strategy: "auto" for one device; "ddp_spawn" for several of this machine: the script is not executed again, so a
            multirun works; "ddp" for one device of each process that torchrun or srun started, in passes through the
            towers; the first scores alone.
        progress_bar: show it.
        shared_folder: one that the processes of all machines see; None: there is one machine.
    """

    accelerator: str
    devices: Annotated[int, Field(ge=-1)] | Annotated[str, Field(pattern=r"^(auto|-?\d+(,\d+)*)$")]
    strategy: str
    progress_bar: bool
    shared_folder: str | None = None

    def encode(
        self,
        module: L.LightningModule,
        batches: Any,
        sink: PartSink,
        num_workers: int,
        describe: Callable[[], bytes | None],
    ) -> None:
        """`predict` for encoding passes, with which other machines can help.

        Args:
            module: that encodes.
            batches: of the whole pass.
            sink: takes the rows.
            num_workers: processes that load batches.
            describe: gives the pass as other processes of a cluster take it; None: this one works alone.

        Raises:
            UserError: as `predict`; or other processes are not there, or do not see the shared folder.
        """
        if self.strategy == "ddp" and several_processes() and (task := describe()) is not None:
            with self.scratch_folder() as folder:
                share(task, partial(self.run_share, module, batches, sink, num_workers), folder)
        else:
            self.predict(module, batches, sink, num_workers)

    def predict(self, module: L.LightningModule, batches: Dataset[Any], sink: PartSink, num_workers: int) -> None:
        """Run `module.predict_step` on every item of `batches` (an item is a whole batch) and sink what it returns.

        Args:
            module: that predicts.
            batches: of the whole pass.
            sink: takes the rows.
            num_workers: processes that load batches.

        Raises:
            KeyboardInterrupt: the user stopped it; finished rows are in the sink.
            UserError: the accelerator or the number of devices asked for is not there.
        """
        if self.strategy == "ddp" and launch() is None:
            raise UserError(
                "trainer=multi_node takes the processes that torchrun or srun started, one per device; this one was "
                "started by itself. Start it as `torchrun --nproc_per_node=GPUS --no-python neglab ...`, or choose "
                "trainer=gpus."
            )
        self._run(module, batches, sink, num_workers, self._sampler(batches))

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A temporary folder that the processes of all machines see."""
        parent = None if self.shared_folder is None else Path(self.shared_folder).expanduser().absolute()
        with tempfile.TemporaryDirectory(prefix="neglab-", dir=parent) as folder:
            yield Path(folder)

    def run_share(self, module: L.LightningModule, batches: Any, sink: PartSink, num_workers: int) -> None:
        """This process's share of a pass: rank r of W takes the batches r, r+W, ..."""
        place = launch() or Launch(0, 1, 0)
        own = range(place.rank, len(batches), place.num_processes)
        shown = self.progress_bar and place.rank == 0
        replace(self, progress_bar=shown)._run(module, batches, sink, num_workers, own)

    def _run(
        self, module: L.LightningModule, batches: Dataset[Any], sink: PartSink, num_workers: int, sampler: Any
    ) -> None:
        loader: DataLoader[Any] = DataLoader(
            batches,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        if not len(loader):  # fewer batches than processes
            return
        contents, devices = getattr(batches, "contents", None), self.at_most(len(loader))
        callbacks: list[Callback] = [PartWriter(sink)]
        if devices.progress_bar and contents:  # in images and texts, not in batches
            callbacks.append(ItemProgress(contents))
            devices = replace(devices, progress_bar=False)
        trainer = devices.trainer(callbacks, leave_bar=True)
        # The loader draws its workers' seed from the global state. A generator of its own would not do: pickling one
        # for a spawned process shares a tensor that is freed at once, and its file handle is given away again.
        with users_mistakes(), torch.random.fork_rng(devices=[]):
            trainer.predict(module, loader, return_predictions=False)

    def _sampler(self, batches: Any) -> Any:
        """Which batches each spawned process takes; of one device all."""
        return RankBatches(batches) if self.strategy == "ddp_spawn" else None

    def at_most(self, num_batches: int) -> "Devices":
        """These devices, at most one per batch: Lightning accepts no rank without a batch."""
        if self.strategy != "ddp_spawn":
            return self
        wanted = self.devices if isinstance(self.devices, int) and self.devices > 0 else torch.cuda.device_count()
        if wanted <= num_batches:
            return self
        return replace(self, devices=num_batches, strategy="auto" if num_batches == 1 else self.strategy)

    def trainer(
        self, callbacks: Sequence[Callback], leave_bar: bool, precision: str | None = None, **options: Any
    ) -> L.Trainer:
        """A quiet Trainer on these devices: no logger, no checkpoints, no sampler of its own.

        Args:
            callbacks: beside the progress bar and the thread count.
            leave_bar: a finished progress bar stays on the screen; of training there would be one per epoch.
            precision: of training; None: as the module has it.
            options: more of the Trainer's.

        Raises:
            UserError: the accelerator or the number of devices asked for is not there.
        """
        bar: list[Callback] = [RichProgressBar(leave=leave_bar)] if self.progress_bar else []
        try:
            return L.Trainer(
                accelerator=self.accelerator,
                devices=self._own_device() if self.strategy == "ddp" else self.devices,
                strategy="auto" if self.strategy == "ddp" else self.strategy,
                plugins=[LightningEnvironment()],  # what is said here counts, whatever started this process
                callbacks=[*callbacks, SameThreads(), *bar],
                enable_progress_bar=self.progress_bar,
                use_distributed_sampler=False,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                precision=precision,  # pyright: ignore[reportArgumentType]
                **options,
            )
        except (ValueError, RuntimeError, MisconfigurationException) as error:
            chosen = f" and learn.precision={precision}" if precision else ""
            raise UserError(
                f"trainer.accelerator={self.accelerator} with trainer.devices={self.devices}{chosen} cannot be used "
                f"here: {error} Choose trainer=cpu, or as many devices as there are."
            ) from error

    def _own_device(self) -> int | list[int]:
        """Of the GPUs seen here the one with the process's number on its machine, counted round: it may see but one."""
        count = 0 if self.accelerator == "cpu" else torch.cuda.device_count()
        place = launch()
        return [place.local_rank % count] if place and count else 1


@contextmanager
def users_mistakes() -> Iterator[None]:
    """Around a pass: Ctrl-C and the UserErrors of other processes are raised as what they are."""
    try:
        yield
    except SystemExit as stop:  # Lightning turns Ctrl-C into an exit
        raise KeyboardInterrupt from stop
    except Exception as error:
        # A loader's worker and a spawned process send their error as the text of a traceback, its message last.
        _, mark, message = str(error).rpartition(RAISED_ELSEWHERE)
        if mark:
            raise UserError(message.strip()) from None
        raise
