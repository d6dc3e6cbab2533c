"""A connection of an HTTP server: how much a peer may say, and how slowly.

Whoever opens connections and says nothing, or a byte now and then, or asks and does not
read, holds a place that others need. So a head has to come within some seconds and a
whole request within a minute; an answer has to be read; heads, chunks and trailers have
no more bytes than they need. What breaks these rules is ended. Beyond a number of
connections a new one is told to come again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

__all__ = ["Connection", "look_after"]

CONNECTIONS: Final = 1000
HEAD_S: Final = 10.0  # that a head may take
REQUEST_S: Final = 60.0  # that a request may take with its body, and what
BODY_BYTES_PER_S: Final = 10_000  # at this rate its bytes take: the server may be slow
READ_S: Final = 60.0  # that an answer may take to be read
HEAD_BYTES: Final = 64 * 1024
FRAME: Final = 8  # bytes around one of a body: a chunk of one byte has five more
LOOK_S: Final = 0.5


def _refusal(status: bytes, text: bytes, more: bytes = b"") -> bytes:
    body = b'{"error": "' + text + b'"}'
    return (
        b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\n" + more
        + b"content-length: " + str(len(body)).encode()
        + b"\r\nconnection: close\r\n\r\n" + body
    )  # fmt: skip


_BUSY: Final = _refusal(
    b"503 Service Unavailable", b"too many connections", b"retry-after: 1\r\n"
)
_LONG: Final = _refusal(b"431 Request Header Fields Too Large", b"the head is too long")


@final
class Connection(HttpToolsProtocol):
    """A connection within limits: who has it calls `look_after` as well."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or say that there is no room."""
        super().connection_made(transport)
        self._stuck_s: float | None = None  # since when an answer is not read
        self._begin()
        if len(self.connections) > CONNECTIONS:
            self._end(_BUSY)

    def _begin(self) -> None:
        """A request begins; before, there was another one or none."""
        self._since_s: float | None = time.monotonic()
        self._before = self.cycle
        self._around = self._body = 0  # its bytes

    def _end(self, said: bytes) -> None:
        self.transport.write(said)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what came, as long as it is within the limits."""
        if self.transport.is_closing():
            return
        if self._since_s is None:
            self._begin()
        self._around += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        in_head = self.cycle is self._before
        if not in_head and not self.cycle.more_body:
            self._since_s = None  # it is whole
        elif self._around > HEAD_BYTES + FRAME * self._body:
            if in_head:
                self._end(_LONG)
            else:  # chunks or trailers that say nothing; an answer may be under way
                self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._around -= len(body)
        self._body += len(body)
        super().on_body(body)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection: not one that was answered while its body comes.

        Who is refused early is still sending, and would not hear why.
        """
        if self._since_s is None:
            super().timeout_keep_alive_handler()

    def resume_writing(self) -> None:
        """Go on with an answer."""
        self._stuck_s = None
        super().resume_writing()

    def look(self, now_s: float) -> None:
        """End what takes too long.

        Args:
            now_s: of `time.monotonic`.
        """
        if self.transport.is_closing() or self.flow.write_paused:
            if self._stuck_s is None:
                self._stuck_s = now_s
            elif now_s - self._stuck_s > READ_S:
                self.transport.abort()
        elif self._since_s is not None:
            most_s = HEAD_S
            if self.cycle is not self._before:
                most_s = REQUEST_S + self._body / BODY_BYTES_PER_S
            if now_s - self._since_s > most_s:
                self.transport.abort()


async def look_after(state: ServerState) -> None:
    """Look at all connections of a server, over and over."""
    while True:
        await asyncio.sleep(LOOK_S)
        now_s = time.monotonic()
        for each in list(state.connections):
            if isinstance(each, Connection):
                each.look(now_s)
