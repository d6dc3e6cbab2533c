"""Processes of workers: started, watched, killed where they hang, started anew."""

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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from trimtab import errors
from trimtab.errors import ExecutionError, TrimtabError
from trimtab.serve.live.dispatcher import Dispatcher

__all__ = ["Supervisor", "asked", "of_child", "slow", "spawn"]

_LOG = logging.getLogger(__name__)
_TICK_MS: Final = 100
_START_S: Final = 300.0  # that a child may take to say what it was asked
_AGAIN: Final = 5  # starts of a worker that never got ready

Child = subprocess.Popen[str]


def spawn(told: Mapping[str, Any], passed: Sequence[int]) -> Child:
    """Start a worker's process.

    Args:
        told: what it has to know, as `trimtab.serve.live.worker` takes it.
        passed: file descriptors that it gets.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab.serve.live.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        pass_fds=tuple(passed),
        # Before PyTorch is imported there: later is too late.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # who looks after it sees that it ended
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
    return process


def asked(told: Mapping[str, Any], passed: Sequence[int]) -> list[dict[str, Any]]:
    """Return what a child says until it ends, a record a line.

    Raises:
        TrimtabError: it says why it cannot, or nothing for too long.
    """
    process = spawn(told, passed)
    try:
        out, _ = process.communicate(timeout=_START_S)
    except BaseException as error:  # Ctrl-C, too: it would go on alone
        process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise slow(_START_S) from None
        raise
    found = [json.loads(line) for line in out.splitlines() if line[:1] == "{"]
    if not found or "error" in found[-1] or process.returncode:
        raise of_child(found[-1] if found else {}, process.returncode)
    return found


@final
class Supervisor:
    """Looks after workers in a thread of its own, apart from who takes answers.

    Args:
        count: of workers, the accelerator's among them.
        start: starts one, by its number.
        dispatcher: told which are gone.
        lock: whoever has it may call the dispatcher.
        overdue: times of what was predicted after which a worker hangs.
        overdue_s: but not before.
        ready_s: after which a worker that is not ready hangs.

    Attributes:
        processes: of workers, by number.
        restarts: of workers that died or hung.
        errors: why a worker cannot be started, by its number.
        broken: why no worker is left, and none can be started.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[int], Child],
        dispatcher: Dispatcher,
        lock: threading.Lock,
        *,
        overdue: float,
        overdue_s: float,
        ready_s: float = _START_S,
    ) -> None:
        self._ready_s = ready_s
        self._count, self._start, self._dispatcher = count, start, dispatcher
        self._lock, self._overdue, self._overdue_s = lock, overdue, overdue_s
        self.processes: list[Child] = []
        self._unready = [0] * count
        self._since = [0.0] * count
        self._ending = os.eventfd(0, os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._ending, select.POLLIN)
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.restarts = 0
        self.errors: dict[int, TrimtabError] = {}
        self.broken: TrimtabError | None = None

    def start(self) -> None:
        """Start all workers, and begin to watch."""
        self.processes += [self._started(number) for number in range(self._count)]
        self._thread.start()

    def _started(self, number: int) -> Child:
        process = self._start(number)
        self._since[number] = time.monotonic()
        assert process.stdout is not None
        self._poll.register(process.stdout.fileno(), 0)  # closed when it ends
        return process

    def end(self) -> None:
        """Watch no more, and end the workers."""
        os.eventfd_write(self._ending, 1)
        if self._thread.is_alive():
            self._thread.join()
        for process in self.processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self.processes:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        os.close(self._ending)

    def _watch(self) -> None:
        while True:
            events = self._poll.poll(_TICK_MS)
            if any(fd == self._ending for fd, _ in events):
                return
            with self._lock:
                hanging = self._dispatcher.overdue(
                    times=self._overdue, least_s=self._overdue_s
                )
                hanging += self._unready_since(time.monotonic() - self._ready_s)
            for number in hanging:
                _LOG.warning("worker %d hangs: it is started anew", number)
                self.processes[number].kill()
                self.processes[number].wait()
            for number, process in enumerate(self.processes):
                out = process.stdout
                if process.poll() is None or out is None or out.closed:
                    continue  # closed: seen before, and not to be started again
                said = out.read()
                self._poll.unregister(out.fileno())
                out.close()
                assert process.stdin is not None
                with contextlib.suppress(OSError):
                    process.stdin.close()
                self._ended(number, process.returncode, said)

    def _unready_since(self, at_s: float) -> list[int]:
        """Return workers that were started before, and have not got ready."""
        return [
            number
            for number, since_s in enumerate(self._since)
            if since_s < at_s
            and number not in self.errors
            and not self._dispatcher.is_alive(number)
        ]

    def _ended(self, number: int, status: int, said: str) -> None:
        """Give what a worker had to others, and start it anew."""
        with self._lock:
            ready = self._dispatcher.is_alive(number)
            again = self._dispatcher.lost(number)
            if self.broken is not None:  # what an accelerator had goes to nobody
                self._dispatcher.fail(self.broken)
        lines = [line for line in said.splitlines() if line[:1] == "{"]
        error = of_child(json.loads(lines[-1]) if lines else {}, status)
        _LOG.warning(
            "worker %d ended (%s), %d batches go to others", number, status, again
        )
        self._unready[number] = 0 if ready else self._unready[number] + 1
        while self._unready[number] < _AGAIN:
            try:
                self.processes[number] = self._started(number)
            except OSError as refused:  # no memory for it now, or no descriptors
                error = _no_process(refused)
                time.sleep(1e-3 * _TICK_MS * 2 ** self._unready[number])
                self._unready[number] += 1
            else:
                self.restarts += 1
                return
        self.errors[number] = error
        _LOG.error("worker %d cannot be started: %s", number, error)
        with self._lock:
            # Others may be starting: they are waited for.
            if all(each in self.errors for each in range(self._dispatcher.workers)):
                self.broken = error
                self._dispatcher.fail(error)


def slow(within_s: float) -> ExecutionError:
    """Return the error of workers that did not get ready in time."""
    return ExecutionError(
        "a worker",
        rule=f"it was not ready within {within_s:.0f} s",
        where="trimtab serve",
        remedy="serve a smaller network, or smaller queries",
    )


def _no_process(error: OSError) -> ExecutionError:
    return ExecutionError(
        "a worker",
        rule=f"no process could be started: {error.strerror or error}",
        where="trimtab serve",
        remedy="see that there is memory; give fewer --workers",
    )


def of_child(said: Mapping[str, Any], status: int | None) -> TrimtabError:
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
