"""A network served on one host; over 400 lines: processes, their ends, and queries."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab import errors
from trimtab.errors import ExecutionError, OverloadedError, TrimtabError, UsageError
from trimtab.serve.live.arena import Arena, Field, check_rows
from trimtab.serve.live.board import Board
from trimtab.serve.live.dispatcher import Answer, Dispatcher, Observed
from trimtab.serve.schedule import Schedule

__all__ = ["Engine", "Settings"]

_LOG = logging.getLogger(__name__)
_TICK_S: Final = 0.1
_KEPT: Final = 4096  # latencies, and batches
_START_S: Final = 300.0  # that a worker may take to be ready
_AGAIN: Final = 5  # starts of a worker that never got ready

Arrays = Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an engine is started with.

    Attributes:
        spec: ``zoo:NAME``, ``package.module:factory``, a ``.py`` file, or a bundle.
        opener: ``module:function`` that a worker opens it with; it returns a
            `trimtab.serve.live.models.Model`.
        weights: a ``.safetensors`` file, or None.
        trust: run the machine code of a bundle, whoever made it.
        workers: processes; by default one for each core.
        pin: whether each has a core of its own.
        arena_bytes: for queries that wait or are worked on, results included.
        most_items: of a query.
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
    arena_bytes: int = 64 * 2**20
    most_items: int = 1024
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

    Attributes:
        schedule: in force; set another one at any time.
        restarts: of workers that died or hung.

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
        said = self._asked("prepare")[-1]
        self.name: str = said["name"]
        self._table = said["table"]
        inputs, outputs = (
            [Field.from_dict(each) for each in said[side]]
            for side in ("inputs", "outputs")
        )
        item = sum(each.item_bytes for each in (*inputs, *outputs))
        capacity = max(settings.most_items, settings.arena_bytes // max(1, item))
        self._arena = Arena(inputs, outputs, min(capacity, 2**22))
        self._board = Board(self._count)
        self._out = os.eventfd(0, os.EFD_NONBLOCK)
        self._bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(self._count)]
        self._learned: dict[int, float] = {}
        self._observed: deque[Observed] = deque(maxlen=_KEPT)
        self._dispatcher = Dispatcher(
            self._arena, self._board.boxes, self._bells, schedule,
            seconds or self._seconds,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self._unready = [0] * self._count
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self.restarts = 0
        self._closing = False
        self._broken: TrimtabError | None = None
        self._thread = threading.Thread(
            target=self._listen, name="dispatcher", daemon=True
        )
        self._idle = threading.Condition(self._lock)

    # Processes

    def _told(self, what: str, **more: Any) -> dict[str, Any]:
        settings = self.settings
        return {
            "what": what, "spec": settings.spec, "opener": settings.opener,
            "weights": settings.weights,
            "trust": settings.trust, "shared": self._shared,
            "table": getattr(self, "_table", None), **more,
        }  # fmt: skip

    def _spawn(self, told: Mapping[str, Any], passed: Sequence[int]) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-m", "trimtab.serve.live.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=tuple(passed),
            # Before PyTorch is imported there: later is too late.
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        return process

    def _asked(self, what: str, **more: Any) -> list[dict[str, Any]]:
        """Return what a child says, a record a line.

        Raises:
            TrimtabError: it says why it cannot.
        """
        process = self._spawn(self._told(what, **more), [self._shared])
        out, _ = process.communicate(timeout=_START_S)
        found = [json.loads(line) for line in out.splitlines() if line[:1] == "{"]
        if not found or "error" in found[-1] or process.returncode:
            raise _of_child(found[-1] if found else {}, process.returncode)
        return found

    def _start(self, number: int) -> subprocess.Popen[str]:
        arena = self._arena
        core = None
        if self.settings.pin and self._count <= len(self._cores):
            core = self._cores[number]
        told = self._told(
            "work", worker=number, workers=self._count, core=core,
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
        process: subprocess.Popen[str] = self._spawn(told, passed)
        assert process.stdout is not None
        self._poll.register(process.stdout.fileno(), 0)  # closed when it ends
        return process

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
            ExecutionError: they are not in time, or cannot be.
        """
        self._processes = [self._start(number) for number in range(self._count)]
        self._thread.start()
        until = time.monotonic() + within_s
        while self._dispatcher.alive < self._count:
            if self._broken is not None or time.monotonic() > until:
                error = self._broken or _of_child({}, None)
                self.close(within_s=0.0)
                raise error
            time.sleep(0.005)

    def close(self, *, within_s: float = 30.0) -> None:
        """Answer what was taken, for a while, and end the workers."""
        with self._idle:
            already, self._closing = self._closing, True
            if already:
                return
            self._idle.wait_for(lambda: not self._dispatcher.open, within_s)
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        os.eventfd_write(self._out, 1)
        if self._thread.is_alive():
            self._thread.join(10.0)
        for process in self._processes:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for each in (self._out, *self._bells, self._shared):
            os.close(each)
        self._arena.close()

    def _listen(self) -> None:
        """Take answers, and look after the workers; a thread of its own."""
        while True:
            events = self._poll.poll(1000 * _TICK_S)
            with self._idle:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._out)
                self._dispatcher.collect()
                self._learn()
                if not self._dispatcher.open:
                    self._idle.notify_all()
                if self._closing and not self._dispatcher.open:
                    return
                if self._closing and self._broken is not None:
                    return
                gone = any(fd != self._out for fd, _ in events)
                if gone or not events:
                    self._look_after()

    def _learn(self) -> None:
        """Keep a running mean of the time of a row, by the size of its batch."""
        for each in self._dispatcher.fresh():
            self._observed.append(each)
            size = each.rows.bit_length()
            row = each.wall_s / each.rows
            self._learned[size] = 0.8 * self._learned.get(size, row) + 0.2 * row

    def _look_after(self) -> None:
        settings = self.settings
        for number in self._dispatcher.overdue(
            times=settings.overdue, least_s=settings.overdue_s
        ):
            _LOG.warning("worker %d hangs: it is started anew", number)
            self._processes[number].kill()
            self._processes[number].wait()
        for number, process in enumerate(self._processes):
            if process.poll() is None or process.stdout is None:
                continue
            if process.stdout.closed:  # seen before, and not to be started again
                continue
            said = process.stdout.read()
            self._poll.unregister(process.stdout.fileno())
            process.stdout.close()
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            if not self._closing:
                self._ended(number, process.returncode, said)

    def _ended(self, number: int, status: int, said: str) -> None:
        """Give what a worker had to others, and start it anew."""
        ready = self._dispatcher.is_alive(number)
        again = self._dispatcher.lost(number)
        self._unready[number] = 0 if ready else self._unready[number] + 1
        if self._unready[number] < _AGAIN:
            self.restarts += 1
            _LOG.warning(
                "worker %d ended (%s), %d batches go to others", number, status, again
            )
            self._processes[number] = self._start(number)
            return
        lines = [line for line in said.splitlines() if line[:1] == "{"]
        error = _of_child(json.loads(lines[-1]) if lines else {}, status)
        _LOG.error("worker %d cannot be started: %s", number, error)
        if not self._dispatcher.alive:
            self._broken = error
            self._dispatcher.fail(error)

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
        priority: int = 1,
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
        priority: int = 1,
    ) -> None:
        """Have a query answered: `done` is told, once, in the engine's thread.

        Raises:
            ExecutionError: inputs that the network does not take.
            OverloadedError: there is no room, or it would not be ready in time.
        """
        items = check_rows(self._arena, inputs)
        if items > self.settings.most_items:
            raise ExecutionError(
                f"a query of {items} items",
                rule=f"it has at most {self.settings.most_items}",
                where="trimtab serve",
                remedy="divide it, or serve with a larger limit",
            )

        def told(answer: Answer) -> None:
            if answer.error is None:
                self._latencies.append((time.monotonic(), answer.latency_s))
            done(answer)

        deadline = None
        if deadline_s is not None:
            deadline = time.monotonic_ns() + int(1e9 * deadline_s)
        with self._lock:
            if self._closing:
                raise OverloadedError(
                    f"a query of {items} items", rule="the server is ending",
                    where="trimtab serve", remedy="ask another", retry_after_s=1.0,
                )  # fmt: skip
            if self._broken is not None:
                raise self._broken
            self._dispatcher.submit(
                inputs, told, scheduled_ns=scheduled_ns, deadline_ns=deadline,
                priority=priority,
            )  # fmt: skip

    @property
    def thread(self) -> int:
        """The thread that takes answers, as the clock of its processor time knows it."""
        return self._thread.ident or 0

    @property
    def workers(self) -> int:
        """Processes that it has, ready or not."""
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

    def profile(self, sizes: Sequence[int]) -> dict[int, float]:
        """Return the CPU time, seconds, of a batch of each size, in a new process.

        Raises:
            TrimtabError: the network cannot be run.
        """
        found = self._asked("profile", sizes=list(sizes))
        return {each["size"]: each["seconds"] for each in found}

    def observed(self) -> list[Observed]:
        """Return the batches that were answered since the last call."""
        with self._lock:
            found = list(self._observed)
            self._observed.clear()
        return found

    def state(self, *, window_s: float = 10.0) -> dict[str, Any]:
        """Return counts, what waits, and latencies of the last seconds."""
        now = time.monotonic()
        with self._lock:
            dispatcher = self._dispatcher
            recent = [each for at, each in self._latencies if at > now - window_s]
            found: dict[str, Any] = {
                **dispatcher.counts,
                "open": dispatcher.open,
                "workers": dispatcher.alive,
                "restarts": self.restarts,
                "backlog_s": dispatcher.backlog_s,
                "oldest_s": dispatcher.oldest_s(),
                "schedule": asdict(dispatcher.schedule),
            }
        quantiles = np.quantile(recent, (0.5, 0.95, 0.99)) if recent else (0.0,) * 3
        for name, value in zip(("p50", "p95", "p99"), quantiles, strict=True):
            found[f"latency_{name}_s"] = float(value)
        return found

    def _seconds(self, rows: int) -> float:
        """Return the time of a batch as it was seen lately; a millisecond before."""
        if not self._learned:
            return 1e-3
        size = rows.bit_length()
        near = min(self._learned, key=lambda each: abs(each - size))
        return self._learned[near] * rows


def _of_child(said: Mapping[str, Any], status: int | None) -> TrimtabError:
    """Return the error that a child told of, of its own kind."""
    record = said.get("error")
    if isinstance(record, dict):
        parts = {key: str(record[key]) for key in ("asked", "rule", "where", "remedy")}
        kind = getattr(errors, str(record.get("error")), ExecutionError)
        try:
            made: TrimtabError = kind(parts.pop("asked"), **parts)
        except TypeError:  # one that takes more
            made = ExecutionError(str(record["asked"]), **parts)
        return made
    return ExecutionError(
        "a worker",
        rule=f"it ended with status {status}",
        where="trimtab serve",
        remedy="see what it printed; a network may need more memory than there is",
    )
