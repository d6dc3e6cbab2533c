"""Until the process is told to end: SIGINT or SIGTERM."""

from __future__ import annotations

import contextlib
import queue
import signal
from collections.abc import Callable, Iterator

__all__ = ["told"]


@contextlib.contextmanager
def told() -> Iterator[Callable[[], None]]:
    """Give what waits until the process is told to end, from the start of the block.

    It is entered ahead of anything that others may answer by such a signal: what is
    told in between is not lost. Handlers are what they were before once it was told, so
    that a second signal ends at once, whether anybody waits or not; and after the
    block. It is entered in the main thread, where Python handles signals.
    """
    # A handler may run while its own thread holds the lock of an Event; this has none.
    ending: queue.SimpleQueue[None] = queue.SimpleQueue()

    def tell(*_: object) -> None:
        ending.put(None)
        put_back()

    before = {
        each: signal.signal(each, tell) for each in (signal.SIGINT, signal.SIGTERM)
    }

    def put_back() -> None:
        while before:
            signal.signal(*before.popitem())

    try:
        yield ending.get
    finally:
        put_back()
