"""One loop for all that trains: rate schedule, steps, and a checkpoint from which a stopped run goes on."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Steps of a run, and how its rates move over them.

    Attributes:
        steps: of the whole run.
        warm_up: steps of linear growth.
        last: what is left of a rate at the end of its half cosine.
        clip: longest gradient.
        every: steps between checkpoints.
    """

    steps: int
    warm_up: int
    last: float = 0.0
    clip: float = 1.0
    every: int = 100

    def share(self, step: int) -> float:
        """Of its full rate, at a step."""
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / self.steps)
        return min(1, (step + 1) / self.warm_up) * (self.last + (1 - self.last) * cosine)


def train(
    state: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    latest: Path,
    loss_of: Callable[[int], Tensor],
    *,
    before_step: Callable[[], None] = lambda: None,
    after_step: Callable[[], None] = lambda: None,
    report: Callable[[], str] = lambda: "",
) -> None:
    """Trains to the schedule's end, from the last checkpoint where there is one.

    Args:
        state: all that the checkpoint keeps beside the optimiser; its gradients are clipped.
        latest: file of the checkpoint.
        loss_of: of a step, drawn by generators that the step seeds, so that a stopped run repeats nothing.
        before_step: changes the gradients.
        after_step: follows the weights.
        report: a few words at each checkpoint.
    """
    rates = [group["lr"] for group in optimiser.param_groups]
    first, began = load_latest(latest, state, optimiser), time.monotonic()
    for step in range(first, schedule.steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * schedule.share(step)
        loss = loss_of(step)
        optimiser.zero_grad()
        loss.backward()
        before_step()
        nn.utils.clip_grad_norm_(state.parameters(), schedule.clip)
        optimiser.step()
        after_step()
        if (step + 1) % schedule.every == 0:
            seconds = time.monotonic() - began
            print(f"{step + 1} loss {loss.item():.3f} {report()} {seconds:.0f}s", flush=True)
            save_latest(latest, state, optimiser, step + 1)


def load_latest(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Number of steps done; 0 where there is no checkpoint."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["steps"]


def save_latest(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
    """Whole or not at all: a killed run keeps the checkpoint before."""
    unfinished = path.with_suffix(".unfinished")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "steps": steps}, unfinished)
    os.replace(unfinished, path)
