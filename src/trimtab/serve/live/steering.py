"""A server that steers itself: it tells its controller what it sees, and obeys.

Queries pass through here, so that what came and what became of it is written down; four
times a second the controller gets it as a window. The schedule that it answers with
holds for the next query. Nothing that is under way is touched.

The controller lives in a process of its own, behind all others: a prediction takes it
seconds of computing, which no answer may wait for. What cannot wait for it, to refuse
what would be late while the queue is old, is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, Final, final

from numpy.typing import NDArray

from trimtab.errors import OverloadedError
from trimtab.serve.capacity import Target
from trimtab.serve.control import Controller, Decision
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.pool import Answer
from trimtab.serve.schedule import DEFAULT_PRIORITY, Schedule
from trimtab.serve.window import Window

__all__ = ["Steering"]

_LOG = logging.getLogger(__name__)
_LOOK_S: Final = 0.05  # between two looks at the queue
_PERIOD_S: Final = 0.25  # of a window
_NICE: Final = 10
_OLD_FRAC: Final = 0.5  # of the target that a chunk has waited for in an old queue
_KEPT: Final = 1_000  # decisions


@final
class Steering:
    """An engine and who decides on its schedule, while the block lasts.

    Args:
        engine: that was started.
        controller: begins with the schedule of the engine; None to keep that.
        target: queries that would miss it are refused while the queue is old.

    Attributes:
        engine: that answers.
        target: of the tail.
        steered: whether there is a controller.
        old: whether the queue is old.
        log: the last decisions.
    """

    def __init__(
        self, engine: Engine, controller: Controller | None, target: Target
    ) -> None:
        self.engine, self.target = engine, target
        self.steered, self._controller = controller is not None, controller
        self.old = False
        self.log: deque[Decision] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._arrived: list[tuple[float, int]] = []
        self._finished: list[tuple[int, float]] = []
        self._shed = engine.state()["shed"]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._steer, name="steer", daemon=True)

    def __enter__(self) -> Steering:
        """Begin to decide."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Decide no more; the engine goes on."""
        self._ending.set()
        self._thread.join()

    def ask(
        self,
        inputs: Mapping[str, NDArray[Any]],
        done: Callable[[Answer], None],
        *,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        """Have a query answered: `done` is told, once, in the engine's thread.

        Args:
            inputs: rows of each input, by name.
            done: told the answer.
            deadline_s: from now; what would be later is refused. While the queue is
                old the target is one, too.
            priority: 0, 1 or 2; smaller ones go first.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
        """
        at_s = time.monotonic()

        def told(answer: Answer) -> None:
            if answer.error is None and self.steered:
                with self._lock:
                    self._finished.append((answer.version, answer.latency_s))
            done(answer)

        if self.old or self.engine.schedule.shed:
            own_s = math.inf if deadline_s is None else deadline_s
            deadline_s = min(own_s, self.target.latency_s)
        try:
            self.engine.ask(inputs, told, deadline_s=deadline_s, priority=priority)
        except OverloadedError:  # it was asked for, too
            self._came(at_s, inputs)
            raise
        self._came(at_s, inputs)

    def _came(self, at_s: float, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Write down a query that the engine found right, if not room for it."""
        if self.steered:
            items = len(next(iter(inputs.values())))
            with self._lock:
                self._arrived.append((at_s, items))

    async def answered(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Answer:
        """Have a query answered as by `ask`, and wait for it in the running loop.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
        """
        loop = asyncio.get_running_loop()
        coming: asyncio.Future[Answer] = loop.create_future()

        def settle(found: Answer) -> None:
            if not coming.done():  # whoever asked may have gone
                coming.set_result(found)

        def done(found: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(settle, found)

        self.ask(inputs, done, deadline_s=deadline_s, priority=priority)
        return await coming

    def window(self, period_s: float) -> Window:
        """Return what was seen since the last one, and begin the next."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
            finished, self._finished = self._finished, []
        arrived.sort()  # many threads ask
        state = self.engine.state()
        shed, self._shed = state["shed"] - self._shed, state["shed"]
        return Window(
            at_s=time.monotonic(),
            period_s=period_s,
            arrived_s=[at_s for at_s, _ in arrived],
            items=[items for _, items in arrived],
            finished=finished,
            # Not the accelerator's: they would be taken for a worker's.
            batches=[
                (each.rows, each.wall_s)
                for each in self.engine.observed()
                if each.worker < self.engine.workers
            ],
            oldest_s=state["oldest_s"],
            shed=shed,
        )

    def _steer(self) -> None:
        """Look at the queue, and at what the controller says; a thread of its own."""
        pool = coming = None
        if self._controller is not None:
            pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._controller,),
            )
        last = time.monotonic()
        while not self._ending.wait(_LOOK_S):
            self.old = self.engine.oldest_s > _OLD_FRAC * self.target.latency_s
            now = time.monotonic()
            if pool is None or now - last < _PERIOD_S:
                continue
            if coming is not None and not coming.done():
                continue  # what comes meanwhile is in the next window
            try:
                if coming is not None:
                    self._obey(coming)
                coming = pool.submit(_observe, self.window(now - last))
                last = now
            except Exception:
                # It serves on with the schedule that it has.
                _LOG.exception("the controller failed; it decides no more")
                self.steered = False
                pool.shutdown(wait=False)
                pool = None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _obey(self, coming: Future[tuple[Schedule, list[Decision]]]) -> None:
        schedule, decisions = coming.result()
        self.log.extend(decisions)
        if schedule.version != self.engine.schedule.version:
            self.engine.schedule = schedule


# In the process of the controller

_DECIDES: list[Controller] = []


def _begin(controller: Controller) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # who serves says when it ends
    threading.Thread(target=_follow, daemon=True).start()
    os.nice(_NICE)
    _DECIDES.append(controller)


def _follow() -> None:
    """End when the server does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _observe(window: Window) -> tuple[Schedule, list[Decision]]:
    """Return the schedule from then on, and what was decided since the last call."""
    (controller,) = _DECIDES
    schedule = controller.observe(window)
    decisions = list(controller.log)
    controller.log.clear()
    return schedule, decisions
