"""What identifies the files of a set: digests of their content, or their paths and what `stat` says of them."""

import logging
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neglab.files import DamagedError, digest, read_bytes, write_atomically
from neglab.parts import NOTHING, file_digest, remove, stamp, tensors_digest

UNKNOWN = (-1, -1, -1, -1)  # the look of a file that cannot be read
INT64 = 2**63 - 1

logger = logging.getLogger(__name__)


def content_digests(tables: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of each file. A file is read again only when its place, inode, size or a time has changed.

    A table belongs to one list of places and has its order, so that it holds no names: what each file looked like, and
    its digest, 64 bytes in all. A file that cannot be read, such as a link to nowhere, has an empty digest: whoever
    opens it says what is wrong.

    Args:
        tables: folder of the tables.
        paths: the files; one that comes twice counts once.
    """
    places = _places(paths)
    table = tables / f"{digest(list(places.values()))}.safetensors"
    known, digests = _read_table(table, len(places))
    looks = torch.from_numpy(np.array([_look(path) for path in places], dtype=np.int64).reshape(-1, 4))
    changed = (looks != known).any(dim=1).nonzero().flatten().tolist()
    names = list(places)
    for i in changed:
        try:
            digests[i] = _bytes_of(file_digest(names[i]))
        except (OSError, ValueError):
            looks[i] = torch.tensor(UNKNOWN)
    if changed:
        content = {"looks": looks, "digests": digests}
        write_atomically(table, save({**content, "checksum": _bytes_of(tensors_digest(content))}))
    text, is_known = digests.numpy().tobytes().hex(), (looks >= 0).all(dim=1).tolist()
    return {path: text[64 * i : 64 * i + 64] if is_known[i] else "" for i, path in enumerate(names)}


def outside_looks(paths: Iterable[Path]) -> dict[Path, str]:
    """Place, inode, times and size of each file, without reading it; empty where there is none."""
    looks = ((path, place, _look(path)) for path, place in _places(paths).items())
    return {path: "" if look == UNKNOWN else f"{place} {look}" for path, place, look in looks}


def _look(path: Path) -> tuple[int, ...]:
    try:
        inode, *others = stamp(path)
        return (inode & INT64, *others)
    except (OSError, ValueError):
        return UNKNOWN


def _bytes_of(text: str) -> UInt8[Tensor, " 32"]:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _read_table(path: Path, num_files: int) -> tuple[Int[Tensor, "N 4"], UInt8[Tensor, "N 32"]]:
    """What is known of each file: its look, unlike any where nothing is, and its digest."""
    nothing = torch.full((num_files, 4), -2), torch.zeros(num_files, 32, dtype=torch.uint8)
    try:
        content = load(read_bytes(path))
        checksum = content.pop("checksum", NOTHING)
        looks, digests = content.get("looks", NOTHING), content.get("digests", NOTHING)
        if (looks.shape, digests.shape) != ((num_files, 4), (num_files, 32)) or looks.dtype != torch.int64:
            raise DamagedError("it is a table of something else")
        if checksum.tolist() != _bytes_of(tensors_digest(content)).tolist():
            raise DamagedError("it does not match its checksum")
    except FileNotFoundError:
        return nothing
    except (OSError, SafetensorError, DamagedError) as error:
        logger.warning("A table of file digests was damaged and is made again: %s (%s)", path, error)
        remove(path)
        return nothing
    return looks, digests


def _places(paths: Iterable[Path]) -> dict[Path, str]:
    """Where each file lies, whatever the folder in which it is named."""
    here, places = os.getcwd(), {}
    for path in dict.fromkeys(paths):
        folder, name = os.path.split(str(path))
        places[path] = os.path.join(_real_folder(folder, here), name)
    return places


@lru_cache(maxsize=4096)
def _real_folder(folder: str, working_folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL: whoever opens the file says so
        return folder
