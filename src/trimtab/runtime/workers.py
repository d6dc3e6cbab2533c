"""Long-lived threads for kernels with parallel loops, one for each number of threads.

TVM starts a pool of threads for every thread that calls a parallel loop and never ends
it. So all such calls of a process go through one thread, in the order in which they
come; exceptions travel back. A forked process starts its own.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import TypeVar, final

__all__ = ["Worker", "worker"]

T = TypeVar("T")
_Job = tuple[Callable[[], object], "_Answer"]


class _Answer:
    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.value: object = None
        self.error: BaseException | None = None


@final
class Worker:
    """A thread that does one job after another until the process ends.

    Args:
        name: of the thread.
        prepare: the first job.

    Raises:
        Exception: what `prepare` raised; there is no thread then.

    Example:
        >>> one = Worker("example", lambda: None)
        >>> one.run(lambda: 2 + 3)
        5
    """

    def __init__(self, name: str, prepare: Callable[[], object]) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # As a daemon it does not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        try:
            self.run(prepare)
        except BaseException:
            self._jobs.put(None)
            raise

    def run(self, job: Callable[[], T]) -> T:
        """Return what the job returns, done by the thread; raise what it raises.

        A caller may be interrupted (Ctrl-C) and go; the job is done all the same. So it
        refers to all memory that it uses.
        """
        if threading.current_thread() is self._thread:
            return job()
        answer = _Answer()
        self._jobs.put((job, answer))
        answer.done.acquire()
        if answer.error is not None:
            try:
                raise answer.error
            finally:
                answer.error = None  # its traceback refers to this frame
        return answer.value  # type: ignore[return-value]

    def _work(self) -> None:
        while (found := self._jobs.get()) is not None:
            job, answer = found
            try:
                answer.value = job()
            except BaseException as error:  # it goes to the caller
                answer.error = error
            answer.done.release()
            del found, job, answer


_workers: dict[int, Worker] = {}
_lock = threading.Lock()


def worker(threads: int, prepare: Callable[[], object]) -> Worker:
    """Return the worker of this process for a number of threads.

    Args:
        threads: that its parallel loops use.
        prepare: what a new one does first; it starts the pool.
    """
    found = _workers.get(threads)
    if found is None:
        with _lock:
            found = _workers.get(threads)
            if found is None:
                found = Worker(f"trimtab-{threads}-threads", prepare)
                _workers[threads] = found
    return found


def _forget() -> None:
    """In a forked process: threads do not survive a fork, nor a lock somebody held."""
    global _lock
    _workers.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
