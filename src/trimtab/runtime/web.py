"""An HTTP server in a thread of its own, and who may talk to it.

Signals, and the loop of the caller, stay the caller's. On loopback only requests for
this very machine are answered: a page of a browser whose name was made to point here
is none. Where there is a token, all but ``/healthz`` is for those who have it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Final, final

import uvicorn

from trimtab.errors import UsageError
from trimtab.runtime.connection import Connection, look_after
from trimtab.runtime.tokens import Token

__all__ = ["Guard", "Server", "is_loopback"]

_GRACE_S: Final = 30  # for what was accepted, when it ends
_OPEN: Final = "/healthz"  # to all
_CHALLENGES: Final = (
    (b"www-authenticate", b'Bearer realm="trimtab"'),
    (b"www-authenticate", b'Basic realm="trimtab", charset="UTF-8"'),  # for browsers
)
_HEADERS: Final = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host in ("127.0.0.1", "::1", "localhost")


@final
class Guard:
    """An application behind headers that a browser keeps to.

    Args:
        app: what answers.
        here: whether only requests that name this machine are answered.
        token: that requests have to have, or None.
    """

    def __init__(self, app: App, *, here: bool, token: Token | None = None) -> None:
        self.app, self.here, self.token = app, here, token

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer, as ASGI has it."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _HEADERS.items() if pair[0] not in given),
                ]
            await send(message)

        if scope["type"] == "http" and self.here and not _names_here(scope):
            await _refuse(guarded, 421, "this server is asked as localhost only")
        elif scope["type"] == "http" and not self._may(scope):
            text = "this server is asked with a token"
            await _refuse(guarded, 401, text, _CHALLENGES)
        else:
            await self.app(scope, receive, guarded)

    def _may(self, scope: Message) -> bool:
        if self.token is None or scope["path"] == _OPEN:
            return True
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(said) == 1 and self.token.fits(said[0])


async def _refuse(
    send: Callable[[Message], Awaitable[None]],
    status: int,
    text: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    body = json.dumps({"error": text}).encode()
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*own, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


def _names_here(scope: Message) -> bool:
    named = [value for name, value in scope["headers"] if name == b"host"]
    host = named[0].decode("latin-1") if len(named) == 1 else ""
    if not host.startswith("[") or "]" not in host:
        return is_loopback(host.partition(":")[0])
    return is_loopback(host[1 : host.index("]")])


@final
class Server:
    """Serves an application while the block lasts.

    Args:
        app: what answers.
        host: to listen on.
        port: to listen on; 0 for any.
        tls: context of a server, or None.
        token: that all have to have who ask, or None.
        stopping: called in the server's loop before it waits for what it accepted.

    Attributes:
        url: of its root, without the slash.

    Raises:
        UsageError: the address cannot be had.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        token: Token | None = None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket = _listening(host, port)
        name = f"[{host}]" if ":" in host else host
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{name}:{self._socket.getsockname()[1]}"
        self._stopping = stopping
        config = self._config = uvicorn.Config(
            Guard(app, here=is_loopback(host) and tls is None, token=token),
            loop="uvloop",
            http=Connection,
            log_config=None,
            log_level=logging.ERROR,  # not a line for each request that is none
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=_GRACE_S,
        )
        config.load()
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            watch = asyncio.create_task(look_after(self._server.server_state))
            await self._server.serve(sockets=[self._socket])
            watch.cancel()

        with asyncio.Runner(loop_factory=self._config.get_loop_factory()) as runner:
            runner.run(serve())

    def __enter__(self) -> Server:
        """Listen."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        if not self._server.started:
            raise RuntimeError("the HTTP server did not start; see the log")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what was accepted, and end."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping)
        self._server.should_exit = True
        self._thread.join(_GRACE_S + 10.0)
        self._socket.close()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(
            f"listening on {host}:{port}",
            rule=error.strerror or str(error),
            where="--http",
            remedy="give another address or port",
        ) from error
    # Those accepted inherit it. Without, an answer's body waits 40 ms for the client to
    # confirm its head: asyncio sets it only on sockets that it made itself.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
