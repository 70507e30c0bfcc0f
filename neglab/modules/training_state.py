"""The state of prompt training after an epoch, kept so that a stopped run resumes exactly there."""

import csv
import io
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from neglab.files import DamagedError, Document, decode, open_regular, write_atomically
from neglab.parts import tensors_digest

Curve = dict[str, int | float | str]  # a row of curves.csv
FORMAT = 1
NOTES = "state"  # their key in the safetensors file's metadata
TENSOR_NAME = re.compile(r"(parameter|optimiser)\.(\d{1,6})(?:\.(\w+))?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateNotes:
    """What a state's file holds beside its tensors.

    Attributes:
        num_epochs: finished ones.
        curves: one row per finished epoch.
        tensors: digest of their names, shapes and values.
    """

    num_epochs: int
    curves: list[Curve]
    tensors: str


@dataclass
class TrainingState:
    """The state of a stage at the end of an epoch; safetensors only, so reading one runs no code.

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
        notes = Document.of(asdict(StateNotes(self.num_epochs, self.curves, tensors_digest(tensors))), FORMAT)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(tensors, {NOTES: notes.as_json().decode()}))

    @classmethod
    def read(cls, path: Path, parameters: Sequence[nn.Parameter]) -> "TrainingState":
        """The state in a file; the beginning, where there is none, or it is damaged or not of these parameters."""
        try:
            state = cls._parsed(path)
            state._check(parameters)
        except FileNotFoundError:
            return cls()
        except (OSError, DamagedError) as error:
            logger.warning("A state of an interrupted training was damaged; it begins anew: %s (%s)", path, error)
            return cls()
        return state

    @classmethod
    def _parsed(cls, path: Path) -> "TrainingState":
        try:
            with open_regular(path), safe_open(path, "pt") as file:
                written = (file.metadata() or {}).get(NOTES, "")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DamagedError(str(error)) from error
        notes = decode(written, Document).opened(StateNotes, FORMAT)
        if tensors_digest(tensors) != notes.tensors:
            raise DamagedError("it does not match its checksum")
        state = cls(notes.num_epochs, curves=notes.curves)
        for name, tensor in sorted(tensors.items()):
            if (parts := TENSOR_NAME.fullmatch(name)) is None or not tensor.isfinite().all():
                raise DamagedError(f"{name} is unknown or not finite")
            kind, i, key = parts.groups()
            if kind == "optimiser":
                state.optimiser.setdefault(int(i), {})[key] = tensor
        num_parameters = sum(name.startswith("parameter.") for name in tensors)
        if missing := [i for i in range(num_parameters) if f"parameter.{i}" not in tensors]:
            raise DamagedError(f"parameter {missing[0]} is missing")
        state.parameters = [tensors[f"parameter.{i}"] for i in range(num_parameters)]
        return state

    def _check(self, parameters: Sequence[nn.Parameter]) -> None:
        """Raise a DamagedError where the state is not one of these parameters."""
        wanted, found = ([tuple(one.shape) for one in some] for some in (parameters, self.parameters))
        if wanted != found or len(self.curves) != self.num_epochs:
            raise DamagedError(f"parameters {found} after {self.num_epochs} epochs; {wanted} were asked for")
        for i, named in self.optimiser.items():
            shapes = {tensor.shape for tensor in named.values() if tensor.ndim}  # a step count is a scalar
            if i >= len(wanted) or shapes - {torch.Size(wanted[i])}:
                raise DamagedError(f"the optimiser's tensors {i} do not fit")

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
