"""One host of several: a whole engine that steers itself, as a replica.

Imports no Ray; some methods have the names that Ray Serve calls. What goes wrong with a
query is returned, not raised, so that it arrives as what it is.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, final

from numpy.typing import NDArray

from trimtab._version import __version__
from trimtab.errors import ExecutionError, TrimtabError
from trimtab.runtime.estimators import Recent
from trimtab.serve.live.opening import Wanted, opened
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import DEFAULT_PRIORITY

__all__ = ["Replica"]

_ILL_S: Final = 60.0  # without a worker: longer than one takes to start
_WINDOW_S: Final = 5.0  # of the tail that scaling looks at

Arrays = Mapping[str, NDArray[Any]]


@final
class Replica:
    """Answers queries with all of its host, and tells how it fares.

    Args:
        wanted: what is served.
        version: of trimtab that asks for it.

    Attributes:
        id: of this replica, as long as it lives.
        host: its name, for people.

    Raises:
        ExecutionError: this host has another version of trimtab.
        TrimtabError: the network cannot be served here.
    """

    def __init__(self, wanted: Wanted, version: str) -> None:
        self._stack = contextlib.ExitStack()
        self.id, self.host = uuid.uuid4().hex[:8], platform.node()
        if version != __version__:
            raise ExecutionError(
                f"a replica of trimtab {version}",
                rule=f"this host has {__version__}",
                where=self.host,
                remedy="install the same version on all hosts",
            )
        self.target = wanted.target
        self.engine, controller, self.found = opened(wanted)
        self._stack.callback(self.engine.close)
        self.side = Steering(self.engine, controller, wanted.target)
        self._stack.enter_context(self.side)
        self._tail = Recent(_WINDOW_S, most=20_000)
        self._well_s = time.monotonic()
        self._before: tuple[float, float, int] = self._counted()

    async def __call__(
        self,
        inputs: Arrays,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Arrays | TrimtabError:
        """Return the outputs of a query, or why there are none."""
        try:
            found = await self.side.answered(
                inputs, deadline_s=deadline_s, priority=priority
            )
        except TrimtabError as error:
            return error
        if found.error is not None:
            return found.error
        self._tail.see(found.latency_s, at=time.monotonic())
        assert found.outputs is not None
        return found.outputs

    def describe(self) -> dict[str, Any]:
        """Return what is served here, as who asks has to know it."""
        return {
            "name": self.engine.name,
            "inputs": [each.to_dict() for each in self.engine.inputs],
            "outputs": [each.to_dict() for each in self.engine.outputs],
            "why": self.found.why,
        }

    def state(self) -> dict[str, Any]:
        """Return what the engine counts, and who it is."""
        return {
            **self.engine.state(),
            "id": self.id, "host": self.host, "process": os.getpid(),
        }  # fmt: skip

    def check_health(self) -> None:
        """Do nothing where it can answer, or soon will: a worker is started anew.

        Raises:
            ExecutionError: it has had no worker for too long.
        """
        at_s = time.monotonic()
        if self.engine.state()["workers"]:
            self._well_s = at_s
        elif at_s > self._well_s + _ILL_S:
            raise ExecutionError(
                "a replica",
                rule=f"none of its workers was ready for {_ILL_S:.0f} s",
                where=self.host,
                remedy="see the log of this host",
            )

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what scaling looks at, since the last call; -1 for no tail."""
        at_s, busy_s, shed = self._counted()
        since_s, was_busy_s, was_shed = self._before
        self._before = at_s, busy_s, shed
        tail_s = self._tail.quantile(self.target.share, at=at_s)
        spent_s = max(at_s - since_s, 1e-6) * self.engine.workers
        return {
            "tail_s": -1.0 if tail_s is None else tail_s,
            "shed": float(shed - was_shed),
            "busy_frac": min(1.0, max(0.0, busy_s - was_busy_s) / spent_s),
        }

    def _counted(self) -> tuple[float, float, int]:
        state = self.engine.state()
        return time.monotonic(), state["busy_s"], state["shed"] + state["late"]

    def close(self) -> None:
        """Answer what was taken, and end."""
        self._stack.close()

    def __del__(self) -> None:
        """Do so: Ray Serve calls this by its name when it takes a replica away."""
        self.close()
