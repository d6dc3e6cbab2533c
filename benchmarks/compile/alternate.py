"""Engines side by side: each in its own process, called in turn, the others asleep."""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from benchmarks.jobs import environment

__all__ = ["Worker", "alternate"]

_TICKS = os.sysconf("SC_CLK_TCK")
_TURN_S = 0.4  # of calls that an engine makes before the next has its turn
_LEAST_CALLS = 3
_MOST_CALLS = 40
_SETTLE_S = 0.1  # between turns: pools of threads stop spinning


@final
class Worker:
    """A process with one engine and one network."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def answer(self, cap_s: float) -> dict[str, Any]:
        """Return the next answer; one with ``failed`` where there is none in time."""
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(cap_s):
                self.close()
                return {"failed": f"stopped after {cap_s:.0f} s"}
        line = stream.readline()
        if not line:
            return {"failed": f"it ended with exit code {self._process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, calls: int, cap_s: float) -> dict[str, Any]:
        """Return the times of calls."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(f"{calls}\n")
            stdin.flush()
        except BrokenPipeError:
            return {"failed": f"it ended with exit code {self._process.wait()}"}
        return self.answer(cap_s)

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used."""
        # Fields 14 and 15 of proc(5); the name before them may hold spaces.
        text = Path(f"/proc/{self._process.pid}/stat").read_text("utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _command(engine: str, network: str, threads: int) -> list[str]:
    module = "benchmarks.compile.worker"
    return [sys.executable, "-m", module, engine, network, str(threads)]


def _busy_s() -> float:
    """Return the CPU time that the whole machine has used."""
    with Path("/proc/stat").open(encoding="utf-8") as file:
        user, nice, system, _, _, irq, soft, steal = file.readline().split()[1:9]
    return sum(map(int, (user, nice, system, irq, soft, steal))) / _TICKS


def calls_for(call_s: float, number: int) -> int:
    """Return how many samples of `number` calls make a turn.

    Example:
        >>> calls_for(0.02, 1), calls_for(1.0, 1), calls_for(1e-5, 200)
        (20, 3, 40)
    """
    wanted = math.ceil(_TURN_S / (call_s * number) - 1e-9)
    return min(_MOST_CALLS, max(_LEAST_CALLS, wanted))


def alternate(
    network: str,
    threads: int,
    engines: Sequence[str],
    *,
    rounds: int,
    caps_s: Mapping[str, float],
) -> tuple[dict[str, dict[str, Any]], float]:
    """Return per engine how it was set up and its samples, one list a round.

    Beside them, how many processors other programs kept busy in the meantime.

    Args:
        network: a prepared one.
        threads: of each engine.
        engines: names of `benchmarks.compile.engines.ENGINES`.
        rounds: in each of which every engine has one turn.
        caps_s: for the set-up of an engine, 300 where it is not named.
    """
    found: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    try:
        for engine in engines:
            workers[engine] = Worker(_command(engine, network, threads), threads)
            found[engine] = workers[engine].answer(caps_s.get(engine, 300.0))
            if "failed" in found[engine]:
                workers.pop(engine).close()
            else:
                found[engine] |= {"wall_s": [], "cpu_s": []}
            print(f"  {engine}: {_said(found[engine])}", file=sys.stderr, flush=True)
        start, before = time.perf_counter(), _busy_s()
        before -= sum(each.cpu_s() for each in workers.values())
        for _ in range(rounds):
            for engine, worker in list(workers.items()):
                one = found[engine]
                time.sleep(_SETTLE_S)
                times = worker.ask(calls_for(one["call_s"], one["number"]), 120.0)
                if "failed" in times:
                    found[engine] = times
                    workers.pop(engine).close()
                    continue
                for clock in ("wall_s", "cpu_s"):
                    one[clock].append(times[clock])
        after = _busy_s() - sum(each.cpu_s() for each in workers.values())
        others = max(0.0, after - before) / (time.perf_counter() - start)
    finally:
        for worker in workers.values():
            worker.close()
    return found, others


def _said(answer: Mapping[str, Any]) -> str:
    if "failed" in answer:
        return str(answer["failed"])
    return f"ready after {answer['setup_s']:.1f} s, {1e3 * answer['call_s']:.3f} ms"
