"""States to many viewers: each is made once, and whoever is slow leaves some out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, final

from starlette.responses import Response

from trimtab.runtime.dashboard.state import State

__all__ = ["Broadcast", "EventStream"]

_LOG = logging.getLogger(__name__)
_WRITE_S: Final = 10.0  # that a viewer may take for one state
_RETRY: Final = b"retry: 1000\n\n"  # ms until a browser comes again

Message = MutableMapping[str, Any]


@final
class Broadcast:
    """Asks for the state at a steady pace, and keeps the last one.

    Args:
        source: returns it; called in the loop, it must not take long.
        every_s: between two.

    Attributes:
        state: the last one.
        viewers: that wait for the next one.
    """

    def __init__(self, source: Callable[[], State], every_s: float) -> None:
        self.source, self.every_s = source, every_s
        self.state = source()
        self.viewers = 0
        self.closed = False
        self._event: bytes | None = None
        self._next = asyncio.Event()

    async def run(self) -> None:
        """Ask, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                self.state = self.source()
                self._event = None
            except Exception:
                # The page stands still and says so; what it watches goes on.
                _LOG.exception("the live page has no state")
            else:
                self._wake()
            due = max(due + self.every_s, loop.time())
            await asyncio.sleep(due - loop.time())

    @property
    def event(self) -> bytes:
        """The state as it is sent; made once, and not where nobody looks."""
        if self._event is None:
            record = self.state.record()
            text = json.dumps(record, allow_nan=False, separators=(",", ":"))
            self._event = f"data: {text}\n\n".encode()
        return self._event

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def following(self) -> bytes | None:
        """Return the next state as an event; None when it is over."""
        if not self.closed:
            await self._next.wait()
        return None if self.closed else self.event


@final
class EventStream(Response):
    """Server-sent events to one viewer, until it goes, is stuck, or all is over.

    Nothing is queued for it: what it gets is the state that is there when it has taken
    the one before.
    """

    def __init__(self, broadcast: Broadcast) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self.broadcast = broadcast

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer, as ASGI has it."""
        del scope
        gone = asyncio.create_task(_gone(receive))
        self.broadcast.viewers += 1
        try:
            start = {"type": "http.response.start", "status": 200}
            await send({**start, "headers": self.raw_headers})
            event: bytes | None = _RETRY + self.broadcast.event
            while event is not None and not gone.done():
                async with asyncio.timeout(_WRITE_S):
                    await send(_part(event, more=True))
                event = await self._following(gone)
            await send(_part(b"", more=False))
        except TimeoutError:
            _LOG.info("a viewer of the live page is stuck, and is left alone")
        finally:
            self.broadcast.viewers -= 1
            gone.cancel()

    async def _following(self, gone: asyncio.Task[None]) -> bytes | None:
        coming = asyncio.create_task(self.broadcast.following())
        await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return coming.result()
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await coming
        return None


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
