"""The content-addressed store: embeddings are computed once, and found by what they are, not by where they came from.

An entry's key is the hash of everything that decides its content. While a pass runs, finished rows lie in `parts/`,
each file named by its own digest, so a killed pass resumes and a half-written file never counts. A finished entry
is one safetensors file and a manifest with its checksum; a damaged entry is dropped and computed again. Deleting the
store is always safe.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neglab.types import UserError

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


def digest(content: Any) -> str:
    """SHA-256 of a JSON-like value in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the whole file or none.

    Raises:
        UserError: the disk is full; nothing but the temporary file is lost.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full: {path} needs {len(content):,} bytes. What was finished is kept. Free some space, "
                "or set paths.store (NEGLAB_STORE) to another disk, and run the same command again."
            ) from error
        raise


@dataclass(frozen=True)
class Entry:
    """One finished or unfinished result in the store.

    Attributes:
        folder: where it lives.
        description: what its key was made of, in short, for people.
    """

    folder: Path
    description: Mapping[str, Any]

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    def read(self) -> tuple[Tensor, Manifest] | None:
        """The tensor [N, D] and its manifest; None where there is none, or where it is damaged (then it is removed)."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text())
            content = (self.folder / "embeddings.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
                raise ValueError("checksum")
            return load(content)["embeddings"], manifest
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, SafetensorError):
            logger.warning("A stored result was damaged and is computed again: %s", self.folder)
            for name in ("manifest.json", "embeddings.safetensors"):
                (self.folder / name).unlink(missing_ok=True)
            return None

    def write(self, embeddings: Tensor, notes: Manifest) -> None:
        """Finish the entry: the tensor, then the manifest that makes it count, then the parts go."""
        content = save({"embeddings": embeddings.contiguous()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "embeddings.safetensors", content)
        manifest = {**self.description, **notes, "sha256": hashlib.sha256(content).hexdigest()}
        write_atomically(self.folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        shutil.rmtree(self.parts, ignore_errors=True)


def write_part(folder: Path, rows: dict[str, Tensor]) -> None:
    """Write some rows of an unfinished result; `rows["index"]` [n] says which. The file is named by its digest."""
    content = save({name: tensor.contiguous() for name, tensor in rows.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)


def read_parts(folder: Path) -> list[dict[str, Tensor]]:
    """All whole parts in a folder; a damaged one is removed."""
    parts = []
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.stem:
            parts.append(load(content))
        else:
            logger.warning("A damaged part of an unfinished pass is computed again: %s", path)
            path.unlink()
    return parts


def merge_parts(parts: Sequence[dict[str, Tensor]], num_rows: int) -> dict[str, Tensor]:
    """The rows of all parts in the order of their index.

    Raises:
        RuntimeError: an index is missing or stands twice; nothing is ever filled up or dropped in silence.
    """
    if not parts:
        raise RuntimeError(f"a pass over {num_rows} items left no result")
    index = torch.cat([part["index"] for part in parts])
    ordered, order = index.sort(stable=True)
    if not torch.equal(ordered, torch.arange(num_rows)):
        missing = num_rows - len(ordered.unique())
        raise RuntimeError(
            f"a pass must give each of its {num_rows} items once; got {len(index)} rows with {missing} items missing"
        )
    return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0] if name != "index"}


class Store:
    """Embeddings on disk, by content.

    Args:
        root: folder of the store; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def entry(self, identity: Mapping[str, Any], **description: Any) -> Entry:
        """The entry of this identity: everything that decides the content, as a JSON-like value."""
        key = digest(identity)
        return Entry(self.root / "embeddings" / key[:2] / key, description)

    @contextmanager
    def locked(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Hold these entries, so that two processes that want the same one do the work once.

        Locks are taken in a fixed order: two runs that share several entries cannot wait for each other.
        """
        locks = self._folder("locks")
        with ExitStack() as held:
            for folder in sorted({entry.folder for entry in entries}):
                held.enter_context(FileLock(locks / f"{folder.name}.lock"))
            yield

    def file_digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Content digest of each file. A file is read again only when its size or modification time has changed.

        A file that cannot be read, such as a link to nowhere, has an empty digest: whoever opens it says what is wrong.
        """
        distinct = list(dict.fromkeys(paths))
        table_path = self._folder("digests") / f"{digest([str(path) for path in distinct])}.json"
        known = _read_json(table_path)
        result, fresh = {}, {}
        for path in distinct:
            try:
                status = path.stat()
                stamp = f"{status.st_size}:{status.st_mtime_ns}"
                row = known.get(str(path))
                result[path] = row[1] if row and row[0] == stamp else _file_digest(path)
            except OSError:
                result[path] = ""
            else:
                fresh[str(path)] = [stamp, result[path]]
        if fresh != known:
            write_atomically(table_path, json.dumps(fresh, ensure_ascii=False).encode())
        return result

    def _folder(self, name: str) -> Path:
        try:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The store must be a folder that can be written; got {self.root} ({error.strerror}). "
                "Set paths.store or NEGLAB_STORE to another place."
            ) from error
        return self.root / name


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
