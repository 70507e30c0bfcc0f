"""What lies in a tar file and where, so that each picture is read in place. Python's tarfile lists much slower."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from typing import NamedTuple, NoReturn

from neglab.files import open_regular
from neglab.places import Place, RemoteBytes, RemotePath
from neglab.types import UserError

Content = mmap | RemoteBytes  # bytes by their position

BLOCK = 512  # bytes; a header is one, contents are filled up to whole ones


class Member(NamedTuple):
    """An ordinary file in a tar file.

    Attributes:
        name: with its folders.
        start: where its content begins in the tar file, in bytes.
        size: of its content, in bytes.
    """

    name: str
    start: int
    size: int


@contextmanager
def contents(path: Place) -> Iterator[Content]:
    """A tar file's bytes, on the disk or, fetched as they are asked for, in a store.

    Raises:
        UserError: there is none, or it is empty.
    """
    try:
        if isinstance(path, RemotePath):
            if not path.size:
                _empty(path)
            yield RemoteBytes(path)
            return
        with open_regular(path) as file:
            if not os.fstat(file.fileno()).st_size:
                _empty(path)
            with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                yield content
    except OSError as error:
        reason = error.strerror or "there is none"
        raise UserError(f"A tar file must be one that can be read; {path} cannot: {reason}.") from error


def _empty(path: Place) -> NoReturn:
    raise UserError(f"A tar file must hold something; {path} is empty. Fetch it again.")


def members(path: Place, content: Content) -> Iterator[Member]:
    """The ordinary files in an uncompressed tar file, in its order.

    Args:
        path: of the tar file, for messages.
        content: of it.

    Raises:
        UserError: it is compressed, damaged or cut off.

    Source: POSIX.1-2001, pax interchange format; GNU tar's manual, "Basic Tar Format".
    """
    try:
        yield from _members(content)
    except ValueError as error:
        raise UserError(
            f"A tar file must be whole and not compressed; {path} {error}. Decompress it, or fetch it again."
        ) from error


def _members(content: Content) -> Iterator[Member]:
    offset, given = 0, dict[str, str]()
    while (header := content[offset : offset + BLOCK]) and header[0]:  # a block of zeros ends it
        start = offset + BLOCK
        if len(header) < BLOCK or header[257:262] != b"ustar":
            raise ValueError(f"has no header at byte {offset:,}")
        size = int(given.get("size") or _number(header[124:136]))
        if size < 0 or start + size > len(content):
            raise ValueError(f"ends within {given.get('path') or _name(header)}")
        offset = start + -(-size // BLOCK) * BLOCK
        kind = header[156:157]
        # A long name or a size from 8 GiB stands in a record before the file's own: POSIX's (x) or GNU's (L).
        if kind == b"x":
            given |= _pax(content[start : start + size])
        elif kind == b"L":
            given["path"] = _text(content[start : start + size])
        else:
            if kind in b"0\0":
                yield Member(given.get("path") or _name(header), start, size)
            given = {}


def _number(field: bytes) -> int:
    """An octal number, or GNU's binary one with its highest bit set."""
    return int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    name = _text(header[:100])
    # POSIX keeps the folders of a name of more than 100 bytes here, GNU other things.
    return f"{_text(header[345:500])}/{name}" if header[345] and not header[262] else name


def _pax(records: bytes) -> dict[str, str]:
    """Records "LENGTH NAME=VALUE\\n"; the length counts itself."""
    found = {}
    while records:
        number, _, _ = records.partition(b" ")
        length = int(number)
        if length <= len(number):  # also what would never end
            raise ValueError(f"has an extended header with a record of {length} bytes")
        name, _, value = records[len(number) + 1 : length - 1].partition(b"=")
        found[name.decode()] = _text(value)
        records = records[length:]
    return found


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
