"""Until the process is told to end: SIGINT or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["told"]


@contextlib.contextmanager
def told() -> Iterator[Callable[[], None]]:
    """Give what waits until the process is told to end, from the start of the block.

    It is entered ahead of anything that others may answer by such a signal: what is
    told in between is not lost. Handlers are what they were before once it was told, so
    that a second signal ends at once; and after the block. It is entered in the main
    thread, where Python handles signals.
    """
    ending = threading.Event()
    before = {
        each: signal.signal(each, lambda *_: ending.set())
        for each in (signal.SIGINT, signal.SIGTERM)
    }

    def put_back() -> None:
        while before:
            signal.signal(*before.popitem())

    def wait() -> None:
        ending.wait()
        put_back()

    try:
        yield wait
    finally:
        put_back()
