"""Where things lie: on the disk, or in an object store, such as s3://bucket/photos, of which fsspec reads any.

A store is asked only for what a person's config or command line names, and for what lies below: no list, saved
detector or run's folder can name another place (`RemotePath.below`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from neglab.columns import Made, Numbers, PathTexts, Texts
from neglab.errors import UserError
from neglab.files import read_bytes

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)
# What stores say of a file's content; where one says nothing, its times do.
MARKS = ("md5Hash", "ETag", "etag", "blob_id", "sha", "CRC")
TIMES = ("LastModified", "last_modified", "updated", "modified", "mtime", "created")
REFUSED = re.compile(r"credential|denied|forbidden|unauthori[sz]ed|\b40[13]\b", re.IGNORECASE)
AHEAD = 4 * 2**20  # bytes that are fetched at once of an object that is read in order


@dataclass(frozen=True, order=True, slots=True)
class RemotePath:
    """A file or folder in an object store, with as much of pathlib's face as looking for images needs.

    Attributes:
        url: with its protocol, without a slash at its end.
        mark: what the store gives to tell the file's content from another; empty: a folder, or not asked yet.
        size: of the file in bytes; -1: not known.
        is_known_folder: the store says so.
    """

    url: str
    mark: str = field(default="", compare=False)
    size: int = field(default=-1, compare=False)
    is_known_folder: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.url.rpartition("/")[0])

    @property
    def key(self) -> str:
        """What decides the file's content."""
        return f"{self.url} {self.mark} {self.size}"

    def as_uri(self) -> str:
        return self.url

    def resolve(self) -> "RemotePath":
        return self

    @property
    def parents(self) -> list["RemotePath"]:
        """The folders that hold it, the nearest first, up to the bucket."""
        protocol, _, path = self.url.partition("://")
        parts = path.split("/")
        return [RemotePath(f"{protocol}://{'/'.join(parts[:i])}") for i in range(len(parts) - 1, 0, -1)]

    def below(self, name: str) -> "RemotePath":
        """The place that a list calls so: relative to this folder, or by an address that leads into it.

        Raises:
            UserError: it leads elsewhere, where a list must not send anyone.
        """
        place = RemotePath((name if ADDRESS.fullmatch(name) else f"{self.url}/{name}").rstrip("/"))
        inner = place.url.removeprefix(f"{self.url}/")
        if inner == place.url or inner.startswith("/") or {".", ".."} & {*inner.split("/")}:
            raise UserError(
                f"A list may name what lies below its root alone, here {self.url}; got {name!r:.200}. Mend the list, "
                "or set root to a folder that holds all its images."
            )
        return place

    def is_dir(self) -> bool:
        if self.mark or self.is_known_folder:
            return self.is_known_folder
        return self.seen().is_known_folder

    def is_file(self) -> bool:
        return bool(self.mark or self.seen().mark)

    def exists(self) -> bool:
        return self._info() is not None

    def iterdir(self) -> Iterator["RemotePath"]:
        """What lies in this folder, in the store's order.

        Raises:
            UserError: the store cannot be read, or does not say when a file has changed.
        """
        try:
            with _reached(self.url):
                system, own = _opened(self.url)
                system.invalidate_cache(own)  # what another call saw may have changed
                entries = system.ls(own, detail=True)
        except FileNotFoundError as error:
            raise UserError(f"A folder must stay while it is listed; {self.url} is gone. Try again.") from error
        for entry in entries:
            path = entry["name"].rstrip("/")
            if path != own.rstrip("/"):  # some stores list the folder itself too
                yield _described(f"{self.url}/{path.rpartition('/')[2]}", entry)

    def read(self, start: int | None = None, end: int | None = None) -> bytes:
        """The file's content, or the bytes from `start` to before `end`.

        Raises:
            FileNotFoundError: there is none.
            UserError: the store cannot be read, which says nothing of the file.
        """
        with _reached(self.url):
            system, own = _opened(self.url)
            return system.cat_file(own, start=start, end=end)

    def seen(self) -> "RemotePath":
        """With the mark and size that the store gives now. Errors are those of `iterdir`."""
        found = self._info()
        return RemotePath(self.url) if found is None else _described(self.url, found)

    def _info(self) -> Mapping[str, Any] | None:
        try:
            with _reached(self.url):
                system, own = _opened(self.url)
                system.invalidate_cache(own)
                return system.info(own)
        except FileNotFoundError:
            return None


Place = Path | RemotePath
AnyPlace = TypeVar("AnyPlace", Path, RemotePath, Path | RemotePath)


class Places(Made[Place]):
    """Files, all on the disk or all in a store, in columns of which the first is that of their texts."""

    @property
    def texts(self) -> PathTexts:
        return self.columns[0]  # pyright: ignore[reportReturnType]


def packed(places: Iterable[Place]) -> Places:
    """Files, all on the disk or all in a store, in columns; such are left as they are."""
    if isinstance(places, Places):
        return places
    marks, sizes = Texts(), Numbers()

    def texts() -> Iterator[str]:
        for place in places:
            if isinstance(place, RemotePath):
                marks.append(place.mark)
                sizes.append(place.size)
            yield str(place)

    found = PathTexts.of(texts())
    return Places(RemotePath, found, marks, sizes) if len(marks) else Places(Path, found)


def place_of(text: str | Place) -> Place:
    """The place that a person names: a path, or an address such as s3://bucket/photos.

    Raises:
        UserError: it is an address within another.
    """
    if isinstance(text, RemotePath):
        return text
    found = ADDRESS.fullmatch(str(text))
    if found is None:
        return Path(text).expanduser()
    protocol, rest = found[1].lower(), found[2]
    if protocol == "file":
        return Path(rest)
    if "::" in rest:
        raise UserError(f"An address must be a plain one, such as s3://bucket/photos; got {text}, which holds another.")
    return RemotePath(f"{protocol}://{rest.rstrip('/')}")


def is_address(text: str) -> bool:
    """Whether a text names a place in a store."""
    return isinstance(place_of(text), RemotePath)


def seen_together(places: Iterable[Place]) -> Iterator[Place]:
    """The same files and folders, those in a store with what it says of them; what is not there has no mark.

    It is asked once for those that follow each other in one folder.
    """
    for folder, own in groupby(places, lambda place: place.parent):
        is_remote = isinstance(folder, RemotePath) and folder.is_dir()
        found = {str(place): place for place in folder.iterdir()} if is_remote else {}
        yield from (found.get(str(place), place) for place in own)


def content_of(place: Place) -> bytes:
    """The content of a file. Errors are those of `read_bytes` and of `RemotePath.read`."""
    return place.read() if isinstance(place, RemotePath) else read_bytes(place)


class RemoteBytes:
    """The bytes of an object by their position, as of a file that is mapped into memory; fetched some ahead.

    Args:
        path: of the object, with its size.
    """

    def __init__(self, path: RemotePath) -> None:
        self.path = path
        self._start, self._held = 0, b""

    def __len__(self) -> int:
        return self.path.size

    def __getitem__(self, wanted: slice) -> bytes:
        start, stop, _ = wanted.indices(len(self))
        if start < self._start or stop > self._start + len(self._held):
            end = min(len(self), max(stop, start + AHEAD))
            self._start, self._held = start, self.path.read(start, end)
        return self._held[start - self._start : stop - self._start]


def _opened(url: str) -> tuple[Any, str]:
    """The store of an address, and what it is called there. An address within it is never followed."""
    protocol = url.partition("://")[0]
    kind: Any = fsspec.get_filesystem_class(protocol)
    return fsspec.filesystem(protocol, **kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)


def _described(url: str, entry: Mapping[str, Any]) -> RemotePath:
    """A place with what the store says of it."""
    if entry["type"] == "directory":
        return RemotePath(url, is_known_folder=True)
    mark = next((str(entry[name]) for name in MARKS if entry.get(name)), "")
    mark = mark or " ".join(str(entry[name]) for name in TIMES if entry.get(name))
    if not mark:
        raise UserError(
            f"A store must say when a file has changed; that of {url} gives neither digest nor time. Copy the files "
            "to a disk."
        )
    return RemotePath(url, mark, int(entry.get("size") or 0))


@contextmanager
def _reached(url: str) -> Iterator[None]:
    """Says of a store that cannot be read what is in the way; each kind has errors of its own.

    Raises:
        FileNotFoundError: there is nothing at this address.
        UserError: the store cannot be read.
    """
    try:
        yield
    except (FileNotFoundError, UserError):
        raise
    except Exception as error:
        protocol, reason = url.partition("://")[0], f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")
        if isinstance(error, ImportError):
            advice = f"{protocol}:// is read by a package of its own; install it."
        elif isinstance(error, ValueError) and protocol not in fsspec.available_protocols():
            advice = "Known are s3, gs, hf, abfs and the other protocols of fsspec."
        elif isinstance(error, PermissionError) or REFUSED.search(reason):
            advice = (
                f"Credentials are taken from where the package for {protocol}:// looks for them, and options from the "
                f"environment, such as FSSPEC_{protocol.upper()}='{{\"anon\": true}}'."
            )
        else:
            advice = "What was finished is kept: run the same command again once it can be reached."
        raise UserError(f"A place in an object store must be readable; {url} is not ({reason}). {advice}") from error
