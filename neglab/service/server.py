"""The socket and the loop of the server; connections that send nothing are closed."""

import asyncio
import errno
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from neglab.service.limits import Limits
from neglab.types import UserError


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose next request has not got its head through in time.

    Uvicorn itself waits for ever for the head of a first request, and for the rest of one that has begun.
    """

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        """The clock runs from the first to the last byte of a head."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._forget()
        elif self._head is None:
            self._head = self.loop.call_later(self.config.timeout_keep_alive, self._give_up)

    def _give_up(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def _forget(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def listen(host: str, port: int) -> socket.socket:
    """A socket at this place.

    Raises:
        UserError: the port is in use or reserved, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"Port {port} of {host} is in use"
        elif error.errno == errno.EACCES:
            reason = f"Port {port} is reserved for the system"
        else:
            raise UserError(f"host must be an address of this machine; got {host}: {error}.") from error
        raise UserError(f"{reason}. Choose another, such as port={port + 1000}, or port=0 for any.") from error


def make_server(app: Any, limits: Limits) -> uvicorn.Server:
    """The loop around an app; `run(sockets=[...])` starts it, and SIGINT or SIGTERM let it finish what it holds."""
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        timeout_keep_alive=max(1, round(limits.seconds)),
        timeout_graceful_shutdown=max(1, round(limits.seconds)),
        limit_concurrency=limits.connections,
        access_log=False,
        log_config=None,
        server_header=False,
    )
    return uvicorn.Server(config)
