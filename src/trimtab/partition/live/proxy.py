"""A TCP proxy between an edge and a cloud: rate, delay, black hole, cut; without root.

It is what a network does to the bytes of a connection, not to its packets: there is no
loss, and a connection is made at once. `trimtab.partition.live.emulate` does the rest.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, Final, final

from trimtab.partition.live.emulate import Shape

__all__ = ["Proxy"]

_READ: Final = 64 * 1024
_PIECE_BYTES: Final = 8 * 1024  # passed on at once, so that a slow link has no steps
_QUEUE_S: Final = 0.2  # that bytes wait for the rate before the sender is held up
_HELD: Final = 1_000  # pieces on their way
_LOOK_S: Final = 0.01


@final
class Proxy:
    """Passes bytes on to a port of this machine; a context manager.

    What a black hole swallows arrives when it ends, as TCP would send it again.

    Args:
        port: of the cloud.
        shape: of the link; `shape` may be assigned while it runs. Loss is not looked
            at.

    Attributes:
        port: that it listens on.
        shape: of the link.
    """

    def __init__(self, port: int, shape: Shape | None = None) -> None:
        self.shape = shape or Shape()
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="proxy", daemon=True
        )
        self._thread.start()
        self._server = self._call(
            asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_READ)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Proxy:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def cut(self) -> None:
        """Reset all connections; new ones may come."""
        self._call(self._cut())

    def close(self) -> None:
        """Reset all connections and listen no more."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _cut(self) -> None:
        for each in self._writers:
            each.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writers.clear()

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends = {writer}
        self._writers |= ends
        try:
            far_reader, far = await asyncio.open_connection(
                "127.0.0.1", self._to, limit=_READ
            )
            ends.add(far)
            self._writers |= ends
            async with asyncio.TaskGroup() as both:
                both.create_task(self._way(reader, far, up=True))
                both.create_task(self._way(far_reader, writer, up=False))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in ends:
                each.close()
            self._writers -= ends

    async def _way(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD)

        async def take() -> None:
            free_at = 0.0
            while True:
                data = await reader.read(_PIECE_BYTES)
                now = time.monotonic()
                shape = self.shape
                rate = shape.uplink_bytes_per_s if up else shape.downlink_bytes_per_s
                free_at = max(now, free_at) + len(data) / rate
                await held.put((free_at + shape.rtt_s / 2, data))
                if not data:
                    return
                await asyncio.sleep(max(0.0, free_at - now - _QUEUE_S))

        async def give() -> None:
            while True:
                due, data = await held.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while self.shape.black_hole:
                    await asyncio.sleep(_LOOK_S)
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as both:
            both.create_task(take())
            both.create_task(give())
