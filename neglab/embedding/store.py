"""The content-addressed store: embeddings are computed once, and found by what they are, not by where they came from.

An entry's key is the hash of everything that decides its content. While a pass runs, finished rows lie in `parts/`,
each file named by its own digest, so a killed pass resumes and a half-written file never counts. A finished entry
is one safetensors file and a manifest with its checksum; a damaged entry is dropped and computed again. Deleting the
store is always safe.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from jaxtyping import Float
from torch import Tensor

from neglab.columns import PathTexts
from neglab.embedding.file_digests import Marks, content_digests, outside_looks
from neglab.files import DamagedError, Document, read_json
from neglab.files import digest as digest
from neglab.files import write_atomically as write_atomically
from neglab.mapped import Rows, write_in_order
from neglab.parts import NOTHING, checksum, read_tensors, remove
from neglab.places import is_address
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
        rows = {"index": torch.arange(len(embeddings)), "embeddings": embeddings}
        self.write_parts([rows], (len(embeddings), embeddings.shape[1]), unreadable or {})

    def write_parts(self, parts: Iterable[Rows], shape: tuple[int, int], unreadable: Mapping[int, str]) -> None:
        """`write` for a tensor of which one part at a time is in memory.

        Args:
            parts: float32 rows with their index, each index once.
            shape: of the tensor.
            unreadable: the reason for each row that stands for an unreadable image.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_in_order(self.folder / TENSORS, parts, shape)
        manifest = {
            "tensors_sha256": checksum(self.folder / TENSORS),
            "shape": list(shape),
            "about": dict(self.description),
            "unreadable": {str(row): reason for row, reason in unreadable.items()},
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
        if is_address(str(root)):
            raise UserError(f"The store must be a folder on a disk; got {root}. Set paths.store or NEGLAB_STORE.")
        self.root = Path(root).expanduser()

    def entry(self, identity: Mapping[str, Any], **description: Any) -> Entry:
        """The entry of this identity: everything that decides the content, as a value that `digest` takes."""
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

    def file_marks(self, paths: PathTexts, hashed: bool = True) -> Marks:
        """What tells each file from any other: the digest of its content, or its look from outside."""
        return content_digests(self._folder("digests"), paths) if hashed else outside_looks(paths)

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
