"""Where the training of prompts stands after an epoch, kept so that a stopped run goes on exactly there."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neglab.store import write_atomically

Curve = dict[str, float | str]  # a row of curves.csv


@dataclass
class TrainingState:
    """Where a stage stands at the end of an epoch; safetensors only, so reading one runs no code.

    Attributes:
        num_epochs: finished ones.
        parameters: of the stage, in the order of `own_parameters`.
        optimiser: its tensors, by parameter and name.
        curves: one row per finished epoch.
    """

    num_epochs: int = 0
    parameters: list[Tensor] = field(default_factory=list)
    optimiser: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    def write(self, path: Path) -> None:
        tensors = {f"parameter.{i}": tensor for i, tensor in enumerate(self.parameters)}
        for i, named in self.optimiser.items():
            tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in named.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        notes = {"num_epochs": str(self.num_epochs), "curves": json.dumps(self.curves)}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors, notes))

    @classmethod
    def read(cls, path: Path) -> "TrainingState":
        """The state in a file; the beginning, where there is none or it is damaged."""
        try:
            with safe_open(path, "pt") as file:
                notes: dict[str, str] = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError):
            return cls()
        state = cls(int(notes["num_epochs"]), curves=json.loads(notes["curves"]))
        num_parameters = sum(name.startswith("parameter.") for name in tensors)
        state.parameters = [tensors[f"parameter.{i}"] for i in range(num_parameters)]
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, i, key = name.split(".", 2)
                state.optimiser.setdefault(int(i), {})[key] = tensor
        return state

    @torch.no_grad()
    def restore(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give the parameters their values at that epoch's end; at the beginning they have them."""
        for parameter, value in zip(parameters, self.parameters, strict=False):
            parameter.copy_(value)


def write_curves(path: Path, rows: list[Curve]) -> None:
    """A CSV file with one row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
