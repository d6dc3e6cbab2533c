"""Both sides at work: until a signal, requests at a pace, decisions in a file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from trimtab.errors import UsageError
from trimtab.partition.live.cloud import Cloud
from trimtab.partition.live.edge import Edge

__all__ = ["ask", "logged", "serve"]

_LOG = logging.getLogger(__name__)
_WRITE_S: Final = 1.0
_SETTLED_S: Final = 30.0  # after which a decision without an end has none


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

    async def answer() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(each, stopped.set)
        ready(await cloud.start(host, port))
        await stopped.wait()
        await cloud.stop()

    asyncio.run(answer())


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


@contextlib.contextmanager
def logged(edge: Edge, path: Path) -> Iterator[None]:
    """Write the decisions of an edge while it works, one JSON a line.

    Each is written once it is known what it cost, so that a file of an edge that was
    killed has all but the last ones.

    Args:
        edge: that was started.
        path: of the file; what was there is replaced.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        file = path.open("wb", buffering=0)
    except OSError as error:
        raise UsageError(
            f"log {str(path)!r}",
            rule=error.strerror or str(error),
            where="trimtab edge",
            remedy="give a file that can be written",
        ) from error
    ended = threading.Event()
    thread = threading.Thread(target=_log, args=(edge, file, ended), name="log")
    with file:
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _log(edge: Edge, file: IO[bytes], ended: threading.Event) -> None:
    since, last = 0, False
    while not last:
        last = ended.wait(_WRITE_S)
        _, decisions = edge.decided(since)
        lines = []
        for each in decisions:
            fresh = each.at_s > time.monotonic() - _SETTLED_S
            if each.actual_s is None and fresh and not last:
                break
            since = each.number + 1
            lines.append(json.dumps(each.record(), allow_nan=False) + "\n")
        try:
            file.write("".join(lines).encode())
        except OSError as error:  # a full disk: requests go on
            _LOG.warning("the log of decisions: %s", error)
