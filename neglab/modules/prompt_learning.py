"""The pass that trains prompts: on stored few-shot embeddings, with both towers frozen, resumable after each epoch."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Float, Int
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from neglab.context.prompts import TokenTower
from neglab.embedding.store import digest
from neglab.modules.training_state import Curve, TrainingState, write_curves
from neglab.parts import MappedRows
from neglab.passes.prediction import Devices, users_mistakes
from neglab.prompt_learner.base import PromptLearner
from neglab.types import LabelledEmbeddings, UserError, generator

# The towers stay in evaluation mode on purpose.
EVALUATION_MODE = ".*in eval mode at the start of training.*"
warnings.filterwarnings("ignore", EVALUATION_MODE)  # for spawned processes, which import this module


class TrainingBatch(NamedTuple):
    """A rank's share of a batch.

    Attributes:
        images: [B, D], unit norm.
        labels: [B].
        size: images of the whole batch, over all ranks.
        patches: [B, P, D], unit norm, in half precision; None where no stage needs them.
    """

    images: Float[Tensor, "B D"]
    labels: Int[Tensor, " B"]
    size: int
    patches: Float[Tensor, "B P D"] | None = None


class FewShotEmbeddings(Dataset[TrainingBatch]):
    """The training images' embeddings, indexed by the positions and size of a batch; patches are read when needed."""

    def __init__(self, images: LabelledEmbeddings, patches: MappedRows | None) -> None:
        self.images, self.patches = images, patches

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, batch: tuple[Int[Tensor, " B"], int]) -> TrainingBatch:
        (positions, size), images = batch, self.images
        patches = None
        if self.patches is not None and images.positions is not None:
            patches = self.patches[images.positions[positions]]
        return TrainingBatch(images.embeddings[positions], images.labels[positions], size, patches)


class EpochBatches(Sampler[tuple[Tensor, int]]):
    """The batches of an epoch in an order that seed and epoch decide; rank r of W takes images r, r+W, ... of each."""

    def __init__(self, num_images: int, batch_size: int, seed: int, first_epoch: int) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.first_epoch, self.epoch = first_epoch, first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning, which counts from 0 in a resumed pass too."""
        self.epoch = self.first_epoch + epoch

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        draw = generator(int(digest([self.seed, self.epoch])[:12], 16))
        rank, world = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        for batch in torch.randperm(self.num_images, generator=draw).split(self.batch_size):
            yield batch[rank::world], len(batch)

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)


class PromptLearningModule(L.LightningModule):
    """Trains one stage's parameters; backbone and earlier stages are frozen."""

    def __init__(self, tower: TokenTower, learner: PromptLearner, state: TrainingState) -> None:
        super().__init__()
        self.tower, self.learner, self.state = tower, learner, state
        self.requires_grad_(False)
        for parameter in learner.own_parameters():
            parameter.requires_grad_(True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimiser = self.learner.recipe.make(self.learner.own_parameters())
        if self.state.optimiser:
            content = optimiser.state_dict()
            optimiser.load_state_dict({**content, "state": self.state.optimiser})
        return optimiser

    def on_train_epoch_start(self) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            # From the epoch alone, so that a resumed pass continues exactly.
            group["lr"] = self.learner.recipe.rate(self.state.num_epochs + self.current_epoch)

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        losses, penalty = self.learner.losses(self.tower, batch.images, batch.labels, batch.patches)
        # Ranks' gradients are averaged: this makes them the gradient of the whole batch's mean.
        own = losses.sum() * self.trainer.world_size / batch.size
        loss = own + penalty
        several = self.trainer.world_size > 1
        values = {"loss": loss.detach(), "penalty": penalty.detach()}
        self.log_dict(values, prog_bar=True, on_step=False, on_epoch=True, batch_size=batch.size, sync_dist=several)
        return loss

    def check(self) -> None:
        """Raise a UserError where the epoch's loss, or a parameter after it, is not finite.

        Once an epoch, since reading each step's loss would wait for the device; a mean stays NaN once a loss was.
        """
        values = [self.trainer.callback_metrics["loss"], *self.learner.own_parameters()]
        if not all(value.isfinite().all() for value in values):
            raise self._not_finite()

    def _not_finite(self) -> UserError:
        epoch = self.state.num_epochs + self.current_epoch
        return UserError(
            f"The loss of {self.learner.name} must be finite; in epoch {epoch + 1} of "
            f"{self.learner.recipe.num_epochs} it is NaN or infinite. Lower recipe.learning_rate, or set "
            "learn.precision=32-true and backbone.precision=fp32."
        )


class EpochKeeper(Callback):
    """After each epoch: the state for a resumed run, a row of curves.csv, and the row for the dashboard.

    Args:
        state_path: of the state.
        curves_path: of the CSV file.
        curves: rows of earlier stages.
        report: takes a row in the launching process; a spawned one has no dashboard.
    """

    def __init__(
        self, state_path: Path, curves_path: Path, curves: list[Curve], report: Callable[[Curve], None] | None
    ) -> None:
        self.state_path, self.curves_path, self.curves, self.report = state_path, curves_path, curves, report

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "report": None}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, PromptLearningModule):
            return
        pl_module.check()  # before anything is kept
        if not trainer.is_global_zero:
            return
        before, learner = pl_module.state, pl_module.learner
        epoch = before.num_epochs + pl_module.current_epoch
        means = {name: float(trainer.callback_metrics[name]) for name in ("loss", "penalty")}
        row: Curve = {"stage": learner.name, "epoch": epoch + 1, "learning_rate": learner.recipe.rate(epoch), **means}
        self.curves.append(row)
        optimiser = trainer.optimizers[0].state_dict()["state"]
        parameters: list[Tensor] = list(learner.own_parameters())
        own = [row for row in self.curves if row["stage"] == learner.name]
        TrainingState(epoch + 1, parameters, optimiser, own).write(self.state_path)
        write_curves(self.curves_path, self.curves)
        if self.report is not None:
            self.report(row)


@dataclass(frozen=True)
class Training:
    """How and where prompts are trained.

    Attributes:
        devices: each batch is split over them.
        precision: Lightning's: "32-true", or "16-mixed" or "bf16-mixed" for autocast on a GPU.
        seed: of the order of the images.
        states: folder of the states for a resumed run.
        curves_path: of curves.csv.
    """

    devices: Devices
    precision: str
    seed: int
    states: Path
    curves_path: Path

    def state(self, learner: PromptLearner) -> TrainingState:
        """The state in which an interrupted run left this stage."""
        return TrainingState.read(self._path(learner), list(learner.own_parameters()))

    def _path(self, learner: PromptLearner) -> Path:
        return self.states / f"{learner.name}.safetensors"

    def train(
        self,
        tower: TokenTower,
        learner: PromptLearner,
        images: LabelledEmbeddings,
        curves: list[Curve],
        log: Callable[[Curve], None],
        patches: MappedRows | None = None,
    ) -> None:
        """Train one stage to its end, from where an interrupted run left it.

        Args:
            tower: of the frozen backbone.
            learner: built; its own parameters change in place.
            images: few images of each class.
            curves: rows of earlier stages; this one's are added.
            log: takes each epoch's row, for a dashboard.
            patches: of all images of the set, where the stage needs them.

        Raises:
            KeyboardInterrupt: the user stopped it; the same call goes on after the last finished epoch.
            UserError: the loss is not finite (the state is that of the last good epoch), or no such device.
        """
        state = self.state(learner)
        state.restore(learner.own_parameters())
        for row in state.curves:
            curves.append(row)
            log(row)
        if state.num_epochs < learner.recipe.num_epochs:
            keeper = EpochKeeper(self._path(learner), self.curves_path, curves, log)
            try:
                shots = FewShotEmbeddings(images, patches if learner.needs_patches else None)
                self._fit(PromptLearningModule(tower, learner, state), shots, keeper)
            finally:
                # What counts is the last finished epoch: this one may have failed, or spawned processes trained copies.
                state = self.state(learner)
                state.restore(learner.own_parameters())
            known = sum(row["stage"] == learner.name for row in curves)
            for row in state.curves[known:]:  # spawned processes logged nothing
                curves.append(row)
                log(row)

    def _fit(self, module: PromptLearningModule, shots: FewShotEmbeddings, keeper: EpochKeeper) -> None:
        recipe = module.learner.recipe
        first = module.state.num_epochs
        batches = EpochBatches(len(shots), recipe.batch_size, self.seed, first)
        sampler: Any = batches
        loader = DataLoader(shots, batch_size=None, sampler=sampler)
        # Each rank needs an image of each batch.
        trainer = self.devices.at_most(recipe.batch_size).trainer(
            [keeper], leave_bar=False, precision=self.precision, max_epochs=recipe.num_epochs - first
        )
        try:
            # The loader and Lightning draw from the global states.
            with users_mistakes(), isolate_rng(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", EVALUATION_MODE)
                trainer.fit(module, loader)
        finally:
            module.requires_grad_(False)
