"""A server that steers itself: it tells its controller what it sees, and obeys.

Queries pass through here, so that what came and what became of it is written down; four
times a second the controller gets it as a window. The schedule that it answers with
holds for the next query. Nothing that is under way is touched.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, final

from numpy.typing import NDArray

from trimtab.serve.capacity import Target
from trimtab.serve.control import Controller
from trimtab.serve.live.dispatcher import Answer
from trimtab.serve.live.engine import Engine
from trimtab.serve.window import Window

__all__ = ["Steering"]

_LOG = logging.getLogger(__name__)
_PERIOD_S: Final = 0.25
_SWITCH_S: Final = 0.0005  # that a thread which computes keeps the interpreter


@final
class Steering:
    """An engine and who decides on its schedule, while the block lasts.

    Args:
        engine: that was started.
        controller: begins with the schedule of the engine; None to keep that.
        target: queries that would miss it are refused while the queue is old.

    Attributes:
        engine: that answers.
        controller: that decides.
        target: of the tail.
    """

    def __init__(
        self, engine: Engine, controller: Controller | None, target: Target | None
    ) -> None:
        self.engine, self.controller, self.target = engine, controller, target
        self._lock = threading.Lock()
        self._arrived: list[tuple[float, int]] = []
        self._finished: list[tuple[int, float]] = []
        self._shed = engine.state()["shed"]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._steer, name="steer", daemon=True)

    def __enter__(self) -> Steering:
        """Begin to decide."""
        self._switch_s = sys.getswitchinterval()
        # What the controller predicts takes a while: answers are not to wait for it.
        sys.setswitchinterval(_SWITCH_S)
        if self.controller is not None:
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
        if self._thread.is_alive():
            self._thread.join()
        sys.setswitchinterval(self._switch_s)

    def ask(
        self, inputs: Mapping[str, NDArray[Any]], done: Callable[[Answer], None]
    ) -> None:
        """Have a query answered: `done` is told, once, in the engine's thread.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
        """
        items = len(next(iter(inputs.values()))) if inputs else 0
        at_s = time.monotonic()

        def told(answer: Answer) -> None:
            if answer.error is None and self.controller is not None:
                with self._lock:
                    self._finished.append((answer.version, answer.latency_s))
            done(answer)

        shed = self.engine.schedule.shed and self.target is not None
        deadline_s = self.target.latency_s if shed and self.target else None
        try:
            self.engine.ask(inputs, told, deadline_s=deadline_s)
        finally:  # what is refused was asked for, too
            if items and self.controller is not None:
                with self._lock:
                    self._arrived.append((at_s, items))

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
            batches=[(each.rows, each.wall_s) for each in self.engine.observed()],
            oldest_s=state["oldest_s"],
            shed=shed,
        )

    def _steer(self) -> None:
        assert self.controller is not None
        last = time.monotonic()
        while not self._ending.wait(_PERIOD_S):
            now = time.monotonic()
            try:
                found = self.controller.observe(self.window(now - last))
            except Exception:
                # It serves on with the schedule that it has.
                _LOG.exception("the controller failed; it decides no more")
                return
            last = now
            if found.version != self.engine.schedule.version:
                self.engine.schedule = found
