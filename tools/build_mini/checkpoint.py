"""The last state of a training run, from which a stopped run goes on."""

import os
from pathlib import Path

import torch
from torch import nn


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
