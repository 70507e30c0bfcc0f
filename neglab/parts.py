"""Tensors on disk, each file with a checksum: the rows of an unfinished pass.

Files are mapped into memory, not copied, and never changed in place. A process checks a file's content once.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from neglab.files import DamagedError, open_regular, write_atomically
from neglab.mapped import Rows, mapped_empty

logger = logging.getLogger(__name__)

# Inode, change of the inode, change of the content, both in nanoseconds, and size. A copied modification time alone
# would let another file of the same size pass.
Stamp = tuple[int, int, int, int]

NOTHING = torch.empty(0)


def write_part(folder: Path, rows: dict[str, Tensor]) -> None:
    """Write some rows of an unfinished result; `rows["index"]` [n] says which. The file is named by its digest."""
    content = save({name: tensor.contiguous() for name, tensor in rows.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)


def read_parts(folder: Path, fits: Callable[[Rows], bool] = lambda rows: True) -> list[Rows]:
    """All whole parts in a folder; one that is damaged, or does not fit, is removed."""
    parts = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            part = read_tensors(path, path.stem)
            if not fits(part):
                raise DamagedError("it is part of something else")
            parts.append(part)
        except DamagedError as error:
            logger.warning("A damaged part of an unfinished pass is computed again: %s (%s)", path, error)
            remove(path)
    return parts


@dataclass(frozen=True)
class RowsOf:
    """Whether a part holds rows of a pass over N items, each of D numbers, or of another shape."""

    num_rows: int
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __call__(self, part: Rows) -> bool:
        index, embeddings = part.get("index", NOTHING), part.get("embeddings", NOTHING)
        types = (index.dtype, embeddings.dtype)
        if types != (torch.int64, self.dtype) or index.ndim != 1 or embeddings.shape != (len(index), *self.shape):
            return False
        return bool(((index >= 0) & (index < self.num_rows)).all())


def merge_parts(parts: Sequence[Rows], num_rows: int, on_disk: bool = False) -> Rows:
    """The rows of all parts in the order of their index. Errors are those of `check_complete`.

    Args:
        parts: of the pass.
        num_rows: of all parts.
        on_disk: the merged rows lie in files without a name.
    """
    check_complete(parts, num_rows)
    empty = mapped_empty if on_disk else torch.empty
    merged = {
        name: empty((num_rows, *rows.shape[1:]), dtype=rows.dtype) for name, rows in parts[0].items() if name != "index"
    }
    for part in parts:
        for name, rows in merged.items():
            rows[part["index"]] = part[name]
    return merged


def check_complete(parts: Sequence[Rows], num_rows: int) -> None:
    """Check that each row is there exactly once: nothing is ever filled in or dropped silently.

    Raises:
        RuntimeError: an index is missing or stands twice.
    """
    if not parts:
        raise RuntimeError(f"a pass over {num_rows} items left no result")
    times = torch.cat([part["index"] for part in parts]).bincount(minlength=num_rows)
    if not torch.equal(times, torch.ones(num_rows, dtype=torch.long)):
        raise RuntimeError(
            f"a pass must give each of its {num_rows} items once; got {int(times.sum())} rows with "
            f"{int((times[:num_rows] == 0).sum())} items missing"
        )


def not_finite(parts: Sequence[Rows]) -> list[int]:
    """Which rows of a pass are NaN or infinite, rising."""
    broken = [part["index"][~part["embeddings"].isfinite().all(dim=1)] for part in parts]
    return torch.cat(broken).sort().values.tolist()


class MappedRows:
    """The rows of a finished pass, left on disk since they are too many for memory; a batch is copied when asked for.

    Args:
        folder: of the pass's parts.
        fits: what they must be.

    Raises:
        RuntimeError: a row is missing or stands twice.
    """

    def __init__(self, folder: Path, fits: RowsOf) -> None:
        self.folder, self.fits = folder, fits
        if len(self) != fits.num_rows or not torch.equal(self._index.sort().values, torch.arange(fits.num_rows)):
            raise RuntimeError(f"{folder} must hold each of {fits.num_rows} rows once; it holds {len(self)}")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, positions: Int[Tensor, " B"]) -> Tensor:
        """The rows [B, ...] at these positions."""
        part, row = self._places[:, positions]
        rows = torch.empty(len(positions), *self.fits.shape, dtype=self.fits.dtype)
        for number in part.unique().tolist():
            own = part == number
            rows[own] = self._parts[number]["embeddings"][row[own]]
        return rows

    def __getstate__(self) -> dict[str, Any]:
        """A spawned process maps the files itself: rows that are sent to it would be copied."""
        return {"folder": self.folder, "fits": self.fits}

    @cached_property
    def _parts(self) -> list[Rows]:
        return read_parts(self.folder, self.fits)

    @cached_property
    def _index(self) -> Int[Tensor, " N"]:
        return torch.cat([part["index"] for part in self._parts] or [torch.empty(0, dtype=torch.long)])

    @cached_property
    def _places(self) -> Int[Tensor, "2 N"]:
        """The part that holds each row, and its place there."""
        lengths = torch.tensor([len(part["index"]) for part in self._parts])
        number = torch.arange(len(lengths)).repeat_interleave(lengths)
        row = torch.cat([torch.arange(length) for length in lengths.tolist()])
        return torch.stack([number, row])[:, self._index.argsort()]


def read_tensors(path: Path, expected: str) -> Rows:
    """The tensors of a whole file.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it does not match its checksum, or holds no tensors.
    """
    try:
        if checksum(path) != expected:
            raise DamagedError("it does not match its checksum")
        return load_file(path)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as error:
        raise DamagedError(str(error)) from error


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes, types and values."""
    content = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        content.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return content.hexdigest()


def remove(path: Path) -> None:
    """Whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def stamp(path: Path | str) -> Stamp:
    status = os.stat(path)
    return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def checksum(path: Path) -> str:
    """SHA-256 of a file as it is now."""
    return _digest_at(path, stamp(path))


@lru_cache(maxsize=4096)
def _digest_at(path: Path, stamp: Stamp) -> str:
    """SHA-256 of a file with this stamp, kept so that the jobs of a sweep need not read it again."""
    return file_digest(path)


def file_digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
