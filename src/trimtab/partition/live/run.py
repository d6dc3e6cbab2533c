"""Both sides at work: until a signal, and requests at a pace."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from trimtab.partition.live.cloud import Cloud
from trimtab.partition.live.edge import Edge

__all__ = ["ask", "serve", "until_told"]


def serve(cloud: Cloud, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Answer until the process is told to end (SIGINT or SIGTERM).

    Args:
        cloud: the side.
        host: to listen on.
        port: to listen on; 0 for any.
        ready: told the port.

    Raises:
        UsageError: the address cannot be had.
    """

    async def until_told() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(each, stopped.set)
        ready(await cloud.start(host, port))
        await stopped.wait()
        await cloud.stop()

    asyncio.run(until_told())


def ask(
    edge: Edge,
    inputs: Iterable[Any],
    *,
    every_s: float = 0.0,
    told: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Ask an edge one request after another; return their latencies, seconds.

    Args:
        edge: that was started.
        inputs: of each.
        every_s: from one to the next; later where an answer takes longer.
        told: how many are done.
    """
    begun = time.monotonic()
    latencies = []
    for number, x in enumerate(inputs):
        time.sleep(max(0.0, begun + number * every_s - time.monotonic()))
        start = time.monotonic()
        edge(x)
        latencies.append(time.monotonic() - start)
        told(number + 1)
    return latencies


def until_told() -> None:
    """Wait until the process is told to end (SIGINT or SIGTERM)."""
    told = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: told.set())
        for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        told.wait()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
