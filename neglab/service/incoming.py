"""From a request to the images in it: whatever is too large, too slow or of no known form is refused."""

import asyncio
import base64
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import msgspec
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from neglab.service.limits import Limits

CHUNK = 2**16  # bytes read of a URL at once
FORMS = 'multipart/form-data with files named images, or application/json such as {"images": ["base64 of a file", ...]}'


class Refused(HTTPException):
    """The request is answered with this reason, and its connection closed."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(status, reason, {"Connection": "close", **headers})


class HeardOut:
    """Reads a refused request to its end before it answers, and keeps nothing of it.

    Many clients read an answer only when they have sent all; those whose connection was closed before that see a
    broken pipe instead of the reason. A request that is not through in time is cut off.

    Args:
        app: what answers, by the ASGI convention.
        seconds: from a request's head to its end.
    """

    def __init__(self, app: Any, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self.seconds
        # Who asks before sending (`Expect: 100-continue`) sends nothing after a refusal.
        whole = any(name == b"expect" for name, _ in scope["headers"])

        async def watched() -> Any:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def after_the_rest(message: Any) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    while message.get("status", 0) >= 400 and not whole:
                        await watched()
            await send(message)

        await self.app(scope, watched, after_the_rest)


@dataclass(frozen=True)
class Sent:
    """A file that is to be an image, and what it is called."""

    name: str | None
    content: bytes


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of a request: files in base64, and URLs where the server takes them."""

    images: list[str] = []
    urls: list[str] = []


async def read_images(request: Request, limits: Limits, url_hosts: Sequence[str]) -> list[Sent]:
    """The files of a request.

    Args:
        request: not read yet.
        limits: what it may cost.
        url_hosts: from which images may be fetched.

    Raises:
        Refused: it is too large or too slow, or of no form that is taken.
    """
    body, kind = await _body(request, limits), request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _files(request, body)
    elif kind == "application/json":
        found = await _from_json(body, limits, url_hosts)
    else:
        raise Refused(415, f"A request must be {FORMS}; got {kind or 'no Content-Type'}.")
    if not found:
        raise Refused(422, f"A request must hold at least one image; got none. Send {FORMS}.")
    _check_count(len(found), limits)
    return found


async def _body(request: Request, limits: Limits) -> bytes:
    too_large = Refused(413, f"A request may have {limits.body} bytes; this one has more.")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"A request must arrive within {limits.seconds:g} seconds.") from None
    except ClientDisconnect:
        raise Refused(400, "The connection was closed before the request was whole.") from None
    return bytes(body)


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.images:
        raise Refused(413, f"A request may hold {limits.images} images; got {count}. Send them in several.")


async def _files(request: Request, body: bytes) -> list[Sent]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form() as form:
            files = form.getlist("images")
            if not all(isinstance(file, UploadFile) for file in files):
                raise Refused(422, "The fields named images must be files, each with a file name.")
            return [Sent(file.filename, await file.read()) for file in files if isinstance(file, UploadFile)]
    except HTTPException as error:
        raise Refused(error.status_code, str(error.detail)) from None


async def _from_json(body: bytes, limits: Limits, url_hosts: Sequence[str]) -> list[Sent]:
    try:
        asked = msgspec.json.decode(body, type=Asked)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(422, f"The JSON does not fit: {error}. Send {FORMS}.") from None
    _check_count(len(asked.images) + len(asked.urls), limits)
    decoded = [Sent(None, _decoded(text, position)) for position, text in enumerate(asked.images)]
    if not asked.urls:
        return decoded
    if not url_hosts:
        raise Refused(422, "This server fetches nothing: send the images themselves. Its url_hosts would allow URLs.")
    return decoded + await asyncio.to_thread(fetch, asked.urls, url_hosts, limits)


def _decoded(text: str, position: int) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except ValueError:
        raise Refused(422, f"images must be base64; that in place {position} is not.") from None


class _NoRedirect(HTTPRedirectHandler):
    """A host that may be asked must not send us to one that may not."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def _may_be_asked(url: str, hosts: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc in hosts  # no user name, and the port if one is given


def fetch(urls: Sequence[str], hosts: Sequence[str], limits: Limits) -> list[Sent]:
    """The files at these URLs, all together within the limits of one request.

    Raises:
        Refused: a host that is not listed, no answer in time, or too much of it.
    """
    opener, deadline, found = build_opener(_NoRedirect), time.monotonic() + limits.seconds, []
    left = limits.body
    for url in urls:
        if not _may_be_asked(url, hosts):
            raise Refused(422, f"URLs must be http or https, of one of {', '.join(hosts)}; got {url[:200]!r}.")
        content = bytearray()
        try:
            with opener.open(url, timeout=limits.seconds) as answer:
                while chunk := answer.read1(CHUNK):
                    content += chunk
                    if len(content) > left or time.monotonic() > deadline:
                        raise Refused(413, f"{url[:200]!r} is too large or too slow.")
        except (HTTPError, OSError, ValueError) as error:
            raise Refused(422, f"{url[:200]!r} could not be fetched: {error}.") from None
        left -= len(content)
        found.append(Sent(url, bytes(content)))
    return found
