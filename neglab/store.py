"""The content-addressed store: embeddings are computed once, and found by what they are, not by where they came from.

An entry's key is the hash of everything that decides its content. While a pass runs, finished rows lie in `parts/`,
each file named by its own digest, so a killed pass resumes and a half-written file never counts. A finished entry
is one safetensors file and a manifest with its checksum; a damaged entry is dropped and computed again. Deleting the
store is always safe.

Files are mapped into memory, not copied, and never changed in place. A process checks a file's content once.
"""

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save
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

    Who may read it is decided as for any new file: colleagues can share a store.

    Raises:
        UserError: the disk is full; nothing but the temporary file is lost.
    """
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
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
            path = self.folder / "embeddings.safetensors"
            if not _is_whole(path, manifest["sha256"]):
                raise ValueError("checksum")
            return load_file(path)["embeddings"], manifest
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
        if _is_whole(path, path.stem):
            parts.append(load_file(path))
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


class StoredRows:
    """Rows of texts, each found by the text itself, whatever list it came in first.

    A file holds the digests [2, n] of n texts, their first halves rising, and their rows [n, D]. Files are only added.
    The last bits of a row may hang on the batch in which its text came first.

    Args:
        folder: of texts whose rows were made in one way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lacking(self, texts: Sequence[str]) -> list[str]:
        """The texts without a row, each once."""
        distinct = list(dict.fromkeys(texts))
        found = torch.zeros(len(distinct), dtype=torch.bool)
        for _, is_here, _ in self._matches(distinct):
            found |= is_here
        return [distinct[i] for i in (~found).nonzero().flatten().tolist()]

    def rows(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """The row of each text.

        Raises:
            RuntimeError: a text has none.
        """
        found = torch.zeros(len(texts), dtype=torch.bool)
        rows = torch.empty(len(texts), self._parts[0]["embeddings"].shape[1] if self._parts else 0)
        for part, is_here, place in self._matches(texts):
            rows[is_here] = part["embeddings"][place[is_here]]
            found |= is_here
        if not found.all():
            raise RuntimeError(f"{int((~found).sum())} of {len(texts)} texts have no row in {self.folder}")
        return rows

    def add(self, texts: Sequence[str], rows: Float[Tensor, "N D"]) -> None:
        known, digests = self._parts, _text_digests(texts)
        order = digests[0].argsort()
        part = {"digests": digests[:, order], "embeddings": rows[order]}
        write_part(self.folder, part)
        known.append(part)

    @cached_property
    def _parts(self) -> list[dict[str, Tensor]]:
        return read_parts(self.folder)

    def _matches(self, texts: Sequence[str]) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
        """For each file: which of the texts it holds, and where."""
        wanted = _text_digests(texts)
        for part in self._parts:
            digests = part["digests"]
            place = torch.searchsorted(digests[0], wanted[0]).clamp(max=digests.shape[1] - 1)
            yield part, (digests[:, place] == wanted).all(dim=0), place


def _text_digests(texts: Sequence[str]) -> Int[Tensor, "2 N"]:
    """The first 128 bits of each text's SHA-256, as two numbers."""
    content = b"".join(hashlib.sha256(text.encode()).digest()[:16] for text in texts)
    return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.int64)).view(-1, 2).T.contiguous()


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


def _is_whole(path: Path, checksum: str) -> bool:
    status = path.stat()
    return _digest_at(path, status.st_size, status.st_mtime_ns) == checksum


@lru_cache(maxsize=4096)
def _digest_at(path: Path, size: int, modified: int) -> str:
    """Of a file as it was at a time: the jobs of a sweep need not read it again."""
    return _file_digest(path)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
