"""What tells one backbone from another: everything that decides an embedding, and a look at what the towers do."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from neglab.parts import tensors_digest

PROBE_DECIMALS = 3  # of cosines; in float64 machines agree to many more, so that none falls to either side


def fingerprint(network: nn.Module, setting: Sequence[Any], probe: Callable[[], Sequence[Tensor]]) -> str:
    """Digest of weights, architecture, setting, and what both towers make of a fixed probe.

    Weights alone do not tell an activation, the number of heads or an epsilon. Architecture and setting name what is
    known to matter; the probe is a guard that needs no list.

    Args:
        network: in float32, in which it is left.
        setting: JSON-like: tokenizer, image transform, precision, the library's own config.
        probe: embeddings [P, D] of the probes, by each tower.
    """
    parts = [tensors_digest(network.state_dict()), list(_architecture(network)), setting, _cosines(network, probe)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _architecture(network: nn.Module) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of each module its name, class, and plain values such as heads, strides and epsilons."""
    for name, module in network.named_modules():
        kind = type(module)
        values = {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and _is_plain(value)
        }
        yield name, f"{kind.__module__}.{kind.__qualname__}", values


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _cosines(network: nn.Module, probe: Callable[[], Sequence[Tensor]]) -> list[float]:
    """Among the embeddings of the probes; in float64, where the network can."""
    # Weights that are converted in inference mode could never take part in a backward pass.
    built_for_inference = any(parameter.is_inference() for parameter in network.parameters())
    with torch.inference_mode(built_for_inference), torch.no_grad():
        try:
            network.double()
            embeddings = torch.cat(list(probe()))
        except (RuntimeError, TypeError):  # a part that insists on its precision
            network.float()
            embeddings = torch.cat(list(probe()))
        finally:
            network.float()
    unit = normalize(embeddings.double(), dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), offset=1)
    return [round(value, PROBE_DECIMALS) + 0.0 for value in (unit @ unit.T)[row, column].tolist()]
