"""Until the process is told to end: SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import threading

__all__ = ["until_told"]


def until_told() -> None:
    """Wait until the process is told to end; handlers are then what they were before.

    It is called in the main thread, where Python handles signals.
    """
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
