"""The content-addressed store: embeddings are computed once, and found by what they are, not by where they came from.

An entry's key is the hash of everything that decides its content. While a pass runs, finished rows lie in `parts/`,
each file named by its own digest, so a killed pass resumes and a half-written file never counts. A finished entry
is one safetensors file and a manifest with its checksum; a damaged entry is dropped and computed again. Deleting the
store is always safe.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from neglab.files import DamagedError, Document, read_json
from neglab.files import digest as digest
from neglab.files import write_atomically as write_atomically
from neglab.parts import NOTHING, Stamp, file_digest, read_tensors, remove, stamp
from neglab.types import UserError

logger = logging.getLogger(__name__)

MANIFEST, TENSORS = "manifest.json", "embeddings.safetensors"
FORMAT = 1
REMARK = 10.0  # seconds of waiting for another run after which a person is told
LONGEST = 48 * 3600.0  # seconds of waiting for another run: its pass may be a long one


@dataclass(frozen=True)
class Manifest:
    """What stands beside an entry's tensor.

    Attributes:
        tensors_sha256: checksum of the tensor's file.
        shape: of the tensor, [N, D].
        about: what its key was made of, in short, for people.
        unreadable: the reason for each row that stands for an unreadable image, by its number.
    """

    tensors_sha256: str
    shape: tuple[int, int]
    about: dict[str, Any]
    unreadable: dict[int, str] = field(default_factory=dict)

    def check(self, embeddings: Tensor, wanted: tuple[int, int]) -> None:
        """Raise a DamagedError where manifest, tensor and request do not belong together."""
        if not embeddings.shape == self.shape == wanted or embeddings.dtype != torch.float32:
            found = f"{embeddings.dtype} {list(embeddings.shape)}, its manifest says {list(self.shape)}"
            raise DamagedError(f"float32 {list(wanted)} was asked for; it holds {found}")
        if not all(0 <= row < wanted[0] for row in self.unreadable):
            raise DamagedError("an unreadable row is none of its rows")


@dataclass(frozen=True)
class DigestTable:
    """Content digests of files that were read once.

    Attributes:
        files: by its resolved path, what a file looked like and its digest.
    """

    files: dict[str, tuple[Stamp, str]]


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

    def read(self, num_rows: int, width: int) -> tuple[Tensor, Manifest] | None:
        """The tensor and its manifest; None where there is none, or where it is damaged (then it is removed).

        Args:
            num_rows: N, as asked for.
            width: D, as asked for.
        """
        try:
            manifest = read_json(self.folder / MANIFEST, Document).opened(Manifest, FORMAT)
            embeddings = read_tensors(self.folder / TENSORS, manifest.tensors_sha256).get("embeddings", NOTHING)
            manifest.check(embeddings, (num_rows, width))
        except FileNotFoundError:
            return None
        except DamagedError as error:
            logger.warning("A stored result was damaged and is computed again: %s (%s)", self.folder, error)
            for path in (self.folder / MANIFEST, self.folder / TENSORS):
                remove(path)
            return None
        return embeddings, manifest

    def write(self, embeddings: Float[Tensor, "N D"], unreadable: Mapping[int, str] | None = None) -> None:
        """Finish the entry: the tensor, then the manifest that makes it count, then the parts go."""
        content = save({"embeddings": embeddings.contiguous()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / TENSORS, content)
        manifest = {
            "tensors_sha256": hashlib.sha256(content).hexdigest(),
            "shape": list(embeddings.shape),
            "about": dict(self.description),
            "unreadable": {str(row): reason for row, reason in (unreadable or {}).items()},
        }
        write_atomically(self.folder / MANIFEST, Document.of(manifest, FORMAT).as_json())
        shutil.rmtree(self.parts, ignore_errors=True)


class Store:
    """Embeddings on disk, by content.

    Args:
        root: folder of the store; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        if "\0" in str(root):
            raise UserError(f"The store's path must hold no NUL; got {str(root)!r}. Set paths.store or NEGLAB_STORE.")
        self.root = Path(root).expanduser()

    def entry(self, identity: Mapping[str, Any], **description: Any) -> Entry:
        """The entry of this identity: everything that decides the content, as a JSON-like value."""
        return Entry(self._folder_of(digest(identity)), description)

    def at(self, key: str) -> Entry:
        """The entry of a key."""
        return Entry(self._folder_of(key), {})

    def _folder_of(self, key: str) -> Path:
        return self.root / "embeddings" / key[:2] / key

    @contextmanager
    def locked(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Hold these entries, so that two processes that want the same one do the work once.

        Locks are taken in a fixed order: two runs that share several entries cannot wait for each other. The system
        frees those of a run that died.

        Raises:
            UserError: another run holds one for very long.
        """
        locks = self._folder("locks")
        with ExitStack() as held:
            for folder in sorted({entry.folder for entry in entries}):
                lock = FileLock(locks / f"{folder.name}.lock")
                _take(lock)
                held.callback(lock.release)
            yield

    def file_digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Content digest of each file. A file is read again only when its place, inode, size or a time has changed.

        A file that cannot be read, such as a link to nowhere, has an empty digest: whoever opens it says what is wrong.
        """
        places = {path: _place(path) for path in dict.fromkeys(paths)}
        table = self._folder("digests") / f"{digest(list(places.values()))}.json"
        known, result, fresh = _read_table(table).files, {}, {}
        for path, place in places.items():
            try:
                now, row = stamp(path), known.get(place)
                result[path] = row[1] if row and row[0] == now else file_digest(path)
            except (OSError, ValueError):
                result[path] = ""
            else:
                fresh[place] = (now, result[path])
        if fresh != known:
            write_atomically(table, json.dumps({"files": fresh}, ensure_ascii=False).encode(errors="surrogatepass"))
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


def _take(lock: BaseFileLock) -> None:
    try:
        lock.acquire(timeout=REMARK)
        return
    except Timeout:
        logger.warning("Another run makes embeddings that this one wants too; waiting until it is done")
    try:
        lock.acquire(timeout=LONGEST, poll_interval=0.5)
    except Timeout as error:
        raise UserError(
            f"Another run has held {lock.lock_file} for {LONGEST / 3600:.0f} hours. If it hangs, end it and run the "
            "same command again; or set paths.store (NEGLAB_STORE) to another place."
        ) from error


def _place(path: Path) -> str:
    """Where a file lies, whatever the folder in which it is named."""
    return os.path.join(_real_folder(str(path.parent), os.getcwd()), path.name)


@lru_cache(maxsize=4096)
def _real_folder(folder: str, working_folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL: whoever opens the file says so
        return folder


def _read_table(path: Path) -> DigestTable:
    try:
        return read_json(path, DigestTable)
    except FileNotFoundError:
        return DigestTable({})
    except DamagedError as error:
        logger.warning("A table of file digests was damaged and is made again: %s (%s)", path, error)
        remove(path)
        return DigestTable({})
