"""Tensors that lie in files and not in memory: written a part at a time, and mapped."""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from neglab.errors import disk_full_said
from neglab.files import written_atomically

Rows = dict[str, Tensor]

ZEROS = 2**20  # bytes that are written at once
ROWS = 2**14  # that are copied at once


def write_in_order(path: Path, parts: Iterable[Rows], shape: tuple[int, int]) -> None:
    """The embeddings of all parts in the order of their index, as the one tensor of a safetensors file.

    Only one part is in memory at a time.

    Args:
        path: of the file; it is written as by `written_atomically`.
        parts: float32 rows with their index, each index once.
        shape: of the tensor, [N, D].
    """
    header, size = _header({"embeddings": torch.empty(0).new_empty(shape, device="meta")})
    with written_atomically(path, len(header) + size) as file:
        file.write(header)
        for part in parts:
            index, order = part["index"].sort()
            rows = part["embeddings"][order]
            ends = [*((index.diff() != 1).nonzero().flatten() + 1).tolist(), len(index)]
            for start, end in zip([0, *ends[:-1]], ends, strict=True):  # a run for each batch or more
                file.seek(len(header) + int(index[start]) * 4 * shape[1])
                file.write(rows[start:end].contiguous().numpy().data)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, without a copy of the tensors; written as by `written_atomically`."""
    header, size = _header(tensors)
    with written_atomically(path, len(header) + size) as file:
        file.write(header)
        for tensor in tensors.values():
            file.write(tensor.contiguous().numpy().data)


KINDS = {torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}


def _header(tensors: Mapping[str, Tensor]) -> tuple[bytes, int]:
    """The beginning of a safetensors file, and the bytes that follow it."""
    about, size = {}, 0
    for name, tensor in tensors.items():
        offsets = (size, size := size + tensor.nbytes)
        about[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(about, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, size


def mapped_empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor to be filled, in a file without a name (TMPDIR), which goes when the tensor does.

    The system takes it out of memory when it needs the room. The disk's room is taken first: a full disk would end the
    process when a mapped page is written.

    Raises:
        UserError: the disk is full.
    """
    empty = torch.empty(tuple(shape), dtype=dtype, device="meta")
    if not (size := empty.nbytes):
        return torch.empty_like(empty, device="cpu")
    where = "the folder for temporary files (TMPDIR)"
    with disk_full_said(f"{size:,} bytes do not fit into {where}."), TemporaryFile() as file:
        for start in range(0, size, ZEROS):
            file.write(bytes(min(ZEROS, size - start)))
        file.flush()
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,))).view(dtype).view(empty.shape)


def rows_at(tensor: Tensor, positions: Int[Tensor, " K"]) -> Tensor:
    """The rows [K, ...] at these positions, as `mapped_empty` keeps them; some are copied at a time."""
    found = mapped_empty((len(positions), *tensor.shape[1:]), tensor.dtype)
    for part, places in zip(found.split(ROWS), positions.split(ROWS), strict=True):
        part[:] = tensor[places]
    return found
