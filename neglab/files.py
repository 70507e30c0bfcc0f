"""The border to the disk: only regular files are opened, JSON is read into typed records, writing is all or nothing.

Whatever lies in a file may come from anyone. What is not what was asked for is a `DamagedError`, never a guess.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader, TextIOWrapper
from itertools import islice
from pathlib import Path
from types import GenericAlias
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import msgspec

from neglab.errors import disk_full_said

Record = TypeVar("Record")

ITEMS = 2**14  # of a long list that are text at once


class DamagedError(ValueError):
    """A file's content is not what was asked for; the message says in what."""


def check_regular(path: str | Path) -> None:
    """Raise an OSError where a library is about to open what is no regular file: a pipe would let it wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def open_regular(path: str | Path) -> BufferedReader:
    """A regular file, or a link to one, for reading: opening a pipe waits for whoever writes into it.

    Raises:
        OSError: there is none, or it is a folder, pipe, socket or device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def open_table(path: str | Path) -> TextIOWrapper:
    """A regular file of UTF-8 text for a CSV reader. Errors are those of `open_regular`."""
    return TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="")


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file. Errors are those of `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def decode(content: bytes | str, kind: type[Record] | GenericAlias) -> Record:
    """A JSON text as a typed record.

    Raises:
        DamagedError: it is no JSON, or JSON of another shape.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise DamagedError(str(error)) from error


def read_json(path: Path, kind: type[Record] | GenericAlias) -> Record:
    """A JSON file as a typed record.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is something else.
    """
    try:
        return decode(read_bytes(path), kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(error.strerror) from error


def digest(content: Any) -> str:
    """SHA-256 of a JSON-like value in canonical form; an iterator, also in a mapping, is a list too long for memory."""
    found = hashlib.sha256()
    for piece in _pieces(content):
        found.update(piece.encode(errors="surrogatepass"))
    return found.hexdigest()


def _pieces(content: Any) -> Iterator[str]:
    """The text of a value in canonical form."""
    if isinstance(content, Iterator):
        yield "["
        for i, items in enumerate(iter(lambda: list(islice(content, ITEMS)), [])):
            yield f"{',' if i else ''}{_canonical(items)[1:-1]}"
        yield "]"
    elif isinstance(content, dict) and any(isinstance(value, Iterator) for value in content.values()):
        for i, (key, value) in enumerate(sorted(content.items())):
            yield f"{',' if i else '{'}{_canonical(key)}:"
            yield from _pieces(value)
        yield "}"
    else:
        yield _canonical(content)


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Document:
    """A JSON document that carries the checksum of its content.

    The checksum has no key: it tells damage, and says nothing of who wrote the file.

    Attributes:
        format: number of the content's format.
        sha256: digest of the content.
        content: plain values.
    """

    format: int
    sha256: str
    content: dict[str, Any]

    @classmethod
    def of(cls, content: dict[str, Any], format: int) -> "Document":
        return cls(format, digest(content), content)

    def as_json(self) -> bytes:
        return f"{json.dumps(asdict(self), indent=1, ensure_ascii=False)}\n".encode()

    def opened(self, kind: type[Record], format: int) -> Record:
        """The content as a typed record.

        Raises:
            DamagedError: it does not match its checksum, or has another format or shape.
        """
        if self.format != format:
            raise DamagedError(f"it has format {self.format}, not {format}")
        if self.sha256 != digest(self.content):
            raise DamagedError("it does not match its checksum")
        try:
            return msgspec.convert(self.content, type=kind, str_keys=True)
        except (ValueError, RecursionError) as error:
            raise DamagedError(str(error)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file; as `written_atomically`."""
    with written_atomically(path, len(content)) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path, num_bytes: int | None) -> Iterator[BinaryIO]:
    """A file under a temporary name, renamed at the end: a reader sees all of it or none, even after a power cut.

    Who may read it is decided as for any new file: colleagues can share a store.

    Args:
        path: where it goes.
        num_bytes: that it will have, for the message; None: not known.

    Raises:
        UserError: the disk is full; nothing but the temporary file is lost.
    """
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    needed = "does not fit" if num_bytes is None else f"needs {num_bytes:,} bytes"
    with disk_full_said(f"{path} {needed}. What was finished is kept."):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # before the rename, which may otherwise reach the disk first
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
