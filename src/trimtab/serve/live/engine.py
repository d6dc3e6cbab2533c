"""A network served on one host; over 400 lines: how it starts, is asked, and ends."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import ExecutionError, OverloadedError, UsageError
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.live.arena import Arena, Field, check_rows
from trimtab.serve.live.board import Board
from trimtab.serve.live.dispatcher import Dispatcher
from trimtab.serve.live.pace import Pace
from trimtab.serve.live.pool import Answer, Observed
from trimtab.serve.live.supervisor import Supervisor, asked, slow, spawn
from trimtab.serve.schedule import DEFAULT_PRIORITY, PRIORITIES, Schedule

__all__ = ["Engine", "Settings"]

_START_S: Final = 300.0  # that a worker may take to be ready
_LOOK_S: Final = 0.1  # between two looks at whether all is answered, at the end

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an engine is started with.

    Attributes:
        spec: ``zoo:NAME``, ``package.module:factory``, a ``.py`` or ``.onnx`` file, or
            a bundle.
        opener: ``module:function`` that a worker opens it with; it returns a
            `trimtab.serve.live.models.Model`.
        weights: a ``.safetensors`` file, or None.
        trust: run the machine code of a bundle, whoever made it.
        workers: processes; by default one for each core.
        pin: whether each has a core of its own.
        arena_bytes: for queries that wait or are worked on, results included.
        most_items: of a query.
        accelerator: beside the workers, for queries that the schedule gives it whole:
            ``cuda``, or a table of one that is not there. It is then *emulated*: it
            takes its time by the table, computes nothing, and its outputs are all 0.
            That is for trials of schedules, never for answers.
        overdue: times of what was predicted after which a worker is started anew.
        overdue_s: but not before.

    Raises:
        UsageError: a number out of its limits.
    """

    spec: str
    opener: str
    weights: str | None = None
    trust: bool = False
    workers: int | None = None
    pin: bool = True
    arena_bytes: int = 256 * 2**20
    most_items: int = 1024
    accelerator: Literal["cuda"] | ServiceCurve | None = None
    overdue: float = 50.0
    overdue_s: float = 5.0

    def __post_init__(self) -> None:
        if (self.workers is not None and self.workers < 1) or min(
            self.arena_bytes, self.most_items, self.overdue, self.overdue_s
        ) <= 0:
            raise UsageError(
                f"an engine with {self}",
                rule="all numbers are above 0",
                where="trimtab serve",
                remedy="leave out what need not differ",
            )


@final
class Engine:
    """Answers queries with worker processes, each on a core of its own.

    Many threads may call it. It holds no network itself, and does not import PyTorch.

    Args:
        settings: what is served, and how.
        schedule: how queries are divided at first.
        seconds: of a batch of so many rows; where it is None it is learned at work.

    Raises:
        TrimtabError: the network cannot be served; the reason is the worker's.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        seconds: Callable[[int], float] | None = None,
    ) -> None:
        self.settings = settings
        self._cores = sorted(os.sched_getaffinity(0))
        self._count = settings.workers or len(self._cores)
        self._shared = os.memfd_create("trimtab-weights")
        told = self._told("prepare", device=self._device())
        try:
            said = asked(told, [self._shared])[-1]
        except BaseException:
            os.close(self._shared)
            raise
        self.name: str = said["name"]
        self._table = said["table"]
        inputs, outputs = (
            [Field.from_dict(each) for each in said[side]]
            for side in ("inputs", "outputs")
        )
        item = sum(each.item_bytes for each in (*inputs, *outputs))
        capacity = max(settings.most_items, settings.arena_bytes // max(1, item))
        self._arena = Arena(inputs, outputs, min(capacity, 2**22))
        device = settings.accelerator
        processes = self._count + (device is not None)
        self._board = Board(processes)
        self._out = os.eventfd(0)
        self._bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(processes)]
        self._pace, self._device_pace = Pace(), Pace()
        accelerator: Callable[[int], float] | None = None
        if isinstance(device, ServiceCurve):
            accelerator = device.table(settings.most_items).__getitem__
        elif device is not None:
            accelerator = self._device_pace
        self._dispatcher = Dispatcher(
            self._arena, self._board.boxes, self._bells, schedule,
            seconds or self._pace, accelerator, self._learn,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._supervisor = Supervisor(
            processes, self._start, self._dispatcher, self._lock,
            overdue=settings.overdue, overdue_s=settings.overdue_s,
        )  # fmt: skip
        self._processes = self._supervisor.processes
        self._closing = self._ended = False
        self._busy_s = 0.0  # of workers, all their batches
        self._thread = threading.Thread(
            target=self._listen, name="dispatcher", daemon=True
        )

    def _told(self, what: str, **more: Any) -> dict[str, Any]:
        settings = self.settings
        return {
            "what": what, "spec": settings.spec, "opener": settings.opener,
            "weights": settings.weights,
            "trust": settings.trust, "shared": self._shared,
            "table": getattr(self, "_table", None), **more,
        }  # fmt: skip

    def _start(self, number: int) -> subprocess.Popen[str]:
        arena, core, device = self._arena, None, None
        if number == self._count:
            device = self._device()
        elif self.settings.pin and self._count <= len(self._cores):
            core = self._cores[number]
        told = self._told(
            "work", worker=number, workers=len(self._bells), core=core, device=device,
            capacity=arena.capacity, arena=arena.descriptor,
            inputs=[each.to_dict() for each in arena.inputs],
            outputs=[each.to_dict() for each in arena.outputs],
            board=self._board.descriptor, bell=self._bells[number], out=self._out,
            warm=sorted({1, min(self._dispatcher.schedule.batch, arena.capacity)}),
        )  # fmt: skip
        passed = [
            self._shared, arena.descriptor, self._board.descriptor,
            self._bells[number], self._out,
        ]  # fmt: skip
        return spawn(told, passed)

    def _device(self) -> Any:
        """Return the accelerator as its worker takes it: cuda, or seconds by items."""
        found = self.settings.accelerator
        if isinstance(found, ServiceCurve):
            return found.table(self.settings.most_items)
        return found

    def __enter__(self) -> Engine:
        """Start; return once all workers are ready."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer what was taken, and end."""
        self.close()

    def start(self, *, within_s: float = _START_S) -> None:
        """Start the workers; return when all are ready.

        Raises:
            TrimtabError: they are not in time, or cannot be.
        """
        self._supervisor.start()
        self._thread.start()
        until = time.monotonic() + within_s
        while not all(map(self._dispatcher.is_alive, range(len(self._bells)))):
            error = next(iter(self._supervisor.errors.values()), None)
            if error is not None or time.monotonic() > until:
                self.close(within_s=0.0)
                raise error or slow(within_s)
            time.sleep(0.005)

    def close(self, *, within_s: float = 30.0) -> None:
        """Answer what was taken, and end the workers.

        Args:
            within_s: after which what is left is answered with an error.
        """
        until = time.monotonic() + within_s
        with self._idle:
            already, self._closing = self._closing, True
            if already:
                return
            # Not every end of a query is told: a worker may be lost with the last one.
            while self._dispatcher.open and time.monotonic() < until:
                self._idle.wait(_LOOK_S)
            self._ended = True
        os.eventfd_write(self._out, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._supervisor.end()
        with self._lock:
            ended = _ending("a query that was taken")
            # One that is being written finds it so when it is handed out.
            self._supervisor.broken = self._supervisor.broken or ended
            self._dispatcher.end(ended)
        for each in (self._out, *self._bells, self._shared):
            os.close(each)
        self._board.close()
        self._arena.close()

    def _listen(self) -> None:
        """Take answers; a thread of its own."""
        out, lock, dispatcher = self._out, self._lock, self._dispatcher
        while True:
            os.eventfd_read(out)  # waits
            with lock:
                dispatcher.collect()
                if self._closing:
                    self._idle.notify_all()
                    if self._ended:
                        return

    def _learn(self, each: Observed) -> None:
        if each.worker < self._count:
            self._busy_s += each.wall_s
            self._pace.see(each.rows, each.wall_s)
        else:
            self._device_pace.see(each.rows, each.wall_s)

    # Queries, from any thread

    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        """Return the outputs of a query.

        Raises:
            ExecutionError: inputs that the network does not take, or that it fails on.
            OverloadedError: there is no room for it now.
        """
        return self.submit(inputs).result()

    def submit(
        self,
        inputs: Arrays,
        *,
        scheduled_ns: int | None = None,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Future[Arrays]:
        """Return a future of the outputs of a query.

        Args:
            inputs: rows of each input, by name.
            scheduled_ns: when it was to come (`time.monotonic_ns`); now by default.
            deadline_s: from now; what would be later is refused.
            priority: 0, 1 or 2; smaller ones go first.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
            UsageError: no such priority.
        """
        future: Future[Arrays] = Future()

        def done(answer: Answer) -> None:
            if answer.error is not None:
                future.set_exception(answer.error)
            else:
                assert answer.outputs is not None
                future.set_result(answer.outputs)

        self.ask(
            inputs, done, scheduled_ns=scheduled_ns, deadline_s=deadline_s,
            priority=priority,
        )  # fmt: skip
        return future

    def ask(
        self,
        inputs: Arrays,
        done: Callable[[Answer], None],
        *,
        scheduled_ns: int | None = None,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        """Have a query answered: `done` is told, once, in the engine's thread.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
            UsageError: no such priority.
        """
        dispatcher, supervisor = self._dispatcher, self._supervisor
        items = check_rows(self._arena, inputs)
        if items > self.settings.most_items:
            raise ExecutionError(
                f"a query of {items} items",
                rule=f"it has at most {self.settings.most_items}",
                where="trimtab serve",
                remedy="divide it, or serve with a larger limit",
            )
        if not 0 <= priority < PRIORITIES:
            raise UsageError(
                f"a query of priority {priority}",
                rule=f"it is from 0, the most urgent, to {PRIORITIES - 1}",
                where="trimtab serve",
                remedy=f"leave it out for {DEFAULT_PRIORITY}",
            )
        deadline = None
        if deadline_s is not None:
            deadline = time.monotonic_ns() + int(1e9 * deadline_s)
        with self._lock:
            if self._closing:
                raise _ending(f"a query of {items} items")
            if supervisor.broken is not None:
                raise supervisor.broken
            query = dispatcher.admit(
                items, done, scheduled_ns=scheduled_ns, deadline_ns=deadline,
                priority=priority,
            )  # fmt: skip
        # Megabytes, perhaps: answers are taken meanwhile.
        dispatcher.write(query, inputs)
        with self._lock:
            dispatcher.hand_out(query)
            if supervisor.broken is not None:
                dispatcher.fail(supervisor.broken)

    @property
    def thread(self) -> int:
        """The thread that takes answers, for the clock of its processor time."""
        return self._thread.ident or 0

    @property
    def restarts(self) -> int:
        """Workers that died or hung, and were started anew."""
        return self._supervisor.restarts

    @property
    def workers(self) -> int:
        """Processes that it has, ready or not; the accelerator's is not counted."""
        return self._count

    @property
    def inputs(self) -> tuple[Field, ...]:
        """What an item has."""
        return self._arena.inputs

    @property
    def outputs(self) -> tuple[Field, ...]:
        """What an item gets."""
        return self._arena.outputs

    @property
    def schedule(self) -> Schedule:
        """How queries are divided that come now."""
        return self._dispatcher.schedule

    @schedule.setter
    def schedule(self, value: Schedule) -> None:
        with self._lock:
            self._dispatcher.schedule = replace(
                value, version=self._dispatcher.schedule.version + 1
            )

    def profile(
        self, sizes: Sequence[int], *, device: Literal["cuda"] | None = None
    ) -> dict[int, float]:
        """Return the seconds of a batch of each size, in a new process.

        Args:
            sizes: rows.
            device: that it runs on, by the clock; the CPU time of a worker by default.

        Raises:
            TrimtabError: the network cannot be run.
        """
        told = self._told("profile", sizes=list(sizes), device=device)
        found = asked(told, [self._shared])
        return {each["size"]: each["seconds"] for each in found}

    @property
    def oldest_s(self) -> float:
        """How long the chunk that waits longest has waited."""
        with self._lock:
            return self._dispatcher.oldest_s()

    def observed(self) -> list[Observed]:
        """Return the batches that were answered since the last call."""
        with self._lock:
            found = list(self._dispatcher.observed)
            self._dispatcher.observed.clear()
        return found

    def state(self, *, window_s: float = 10.0) -> dict[str, Any]:
        """Return counts, what waits, and latencies of the last seconds."""
        since = time.monotonic_ns() - int(1e9 * window_s)
        with self._lock:
            dispatcher = self._dispatcher
            recent = [1e-9 * each for at, each in dispatcher.latencies if at > since]
            found: dict[str, Any] = {
                **dispatcher.counts,
                "open": dispatcher.open,
                "workers": dispatcher.alive,
                "restarts": self.restarts,
                "busy_s": self._busy_s,
                "backlog_s": dispatcher.backlog_s,
                "oldest_s": dispatcher.oldest_s(),
                "schedule": asdict(dispatcher.schedule),
            }
        quantiles = np.quantile(recent, (0.5, 0.95, 0.99)) if recent else (0.0,) * 3
        for name, value in zip(("p50", "p95", "p99"), quantiles, strict=True):
            found[f"latency_{name}_s"] = float(value)
        return found


def _ending(asked: str) -> OverloadedError:
    return OverloadedError(
        asked, rule="the server is ending", where="trimtab serve",
        remedy="ask another", retry_after_s=1.0,
    )  # fmt: skip
