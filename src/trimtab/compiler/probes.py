"""What the present core does, measured by loops of known instructions.

Two uses. `trimtab machine calibrate` takes the clock, and what vector code loads and
stores, from here: no framework's operators show it. `trimtab machine check --measure`
compares the table of the core with it: each loop is read by the same analysis that
judges candidates (`trimtab.compiler.assembly`) and then run, and both times are
printed.

Loops are written out for the width of the vectors; nothing here is a kernel of a
network. Times are CPU times of the thread, the least of many, since whatever else the
machine does only adds to them.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np

from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.report import BlockReport, analyse
from trimtab.compiler.probe_loops import CLOCK_STEPS, clock, loops, streams
from trimtab.errors import MissingExtraError
from trimtab.hardware.cores import Microarchitecture, microarchitecture
from trimtab.hardware.machine import Machine
from trimtab.hardware.measure import Progress, least_times_s

__all__ = [
    "CodeProbe",
    "Comparison",
    "bandwidths",
    "compare",
    "measured_cycles",
    "predicted",
    "why_not",
]

_CLOCK = "clock"
_LINE_BYTES = 64
# A span for loops that stay where they are.
_CALL_S = 150e-6
# Of one timed call: long against reading the clock, short against being interrupted.
_UNITS = (0.25, 0.5, 1.0, 2.0, 4.0)
# Multiply-adds of whole vectors that a core may start a cycle.
_ROUNDS = 160
# Of all loops in turn, about half a second.
_PARTS = 8
# Between which progress is told.
_MEMORY_BYTES = 1 << 30
# At most, to load from memory: what a larger cache holds is not measured.
_STREAM_BYTES = 1 << 22
# Loaded in one timed call at least.
_STREAM_ROUNDS = 12


def why_not() -> str:
    """Return why loops cannot be run here, empty if they can."""
    if importlib.util.find_spec("tvm") is None:
        return "TVM is not installed: pip install 'trimtab[compile]'"
    return ""


def predicted(body: Sequence[str], core: Microarchitecture) -> BlockReport:
    """Return what the analysis says of a loop's body."""
    lines = "".join(f"\t{line}\n" for line in body)
    end = "retq" if "%" in lines else "ret"
    (found,) = parse(f"f:\n{lines}\t{end}\n")
    return analyse(found.blocks[0].instructions[:-1], core)


# ---------------------------------------------------------------- running


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One loop, read and run.

    Attributes:
        name: of the loop.
        instructions: in its body.
        predicted_cycles: of a pass, from the table of the core.
        limit: what the prediction is due to.
        measured_cycles: of a pass.
        unknown: instructions that the table does not know.
    """

    name: str
    instructions: int
    predicted_cycles: float
    limit: str
    measured_cycles: float
    unknown: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured_cycles / self.predicted_cycles


def _memory(size_bytes: int) -> tuple[np.ndarray, int]:
    """Return ones, and the address of the first on a cache line of its own."""
    kept = np.ones(size_bytes // 4 + 64, dtype=np.float32)
    return kept, -(-kept.ctypes.data // 64) * 64


def _require() -> None:
    reason = why_not()
    if reason:
        raise MissingExtraError(
            "measuring instructions",
            rule="their loops are assembled and loaded by TVM, which is not installed",
            where="trimtab.compiler.probes",
            remedy="install the extra `compile`: pip install 'trimtab[compile]'",
        )


def measured_cycles(
    bodies: Mapping[str, Sequence[str]],
    machine: Machine,
    progress: Progress = lambda done, text: None,
) -> dict[str, float]:
    """Return cycles of a pass through each loop, on this machine.

    The unit is a loop of dependent additions, one cycle each, run in turn with the
    others, so that all see the same clock and the same neighbours.

    Args:
        bodies: lines of assembly by name.
        machine: this one.
        progress: told the share that is done.

    Raises:
        MissingExtraError: TVM is not installed.
    """
    _require()
    from trimtab.compiler.tvm.micro import load_loops

    ready = load_loops({_CLOCK: clock(machine), **bodies}, machine.core.llvm_cpu)
    kept, pointer = _memory(1 << 14)

    def call(name: str, times: int) -> Callable[[], None]:
        return partial(ready[name], times, pointer, 0, _LINE_BYTES)

    progress(0.0, "instructions")
    first = least_times_s({name: call(name, 64) for name in ready}, rounds=3)
    times = {
        name: max(1, int(64 * _CALL_S / max(time_s, 1e-9)))
        for name, time_s in first.items()
    }
    calls = {name: call(name, times[name]) for name in ready}
    least: dict[str, float] = dict.fromkeys(calls, math.inf)
    for part in range(_PARTS):
        found = least_times_s(calls, rounds=_ROUNDS // _PARTS)
        least = {name: min(least[name], found[name]) for name in calls}
        progress((part + 1) / _PARTS, "instructions")
    del kept
    cycle_s = least[_CLOCK] / (times[_CLOCK] * CLOCK_STEPS)
    return {name: least[name] / times[name] / cycle_s for name in bodies}


def compare(
    machine: Machine, progress: Progress = lambda done, text: None
) -> tuple[Comparison, ...]:
    """Return each loop as the table of the core says, and as it runs here.

    Args:
        machine: this one.
        progress: told the share that is done.

    Raises:
        MissingExtraError: TVM is not installed.
        UnknownMachineError: no table of ports names the processor.
    """
    core = microarchitecture(machine.core.llvm_cpu)
    bodies = loops(machine)
    cycles = measured_cycles(bodies, machine, progress)
    found = []
    for name, body in bodies.items():
        report = predicted(body, core)
        found.append(
            Comparison(
                name=name,
                instructions=len(body),
                predicted_cycles=report.cycles,
                limit=report.bottleneck,
                measured_cycles=cycles[name],
                unknown=report.unknown,
            )
        )
    return tuple(found)


def bandwidths(
    machine: Machine, progress: Progress = lambda done, text: None
) -> dict[str, float]:
    """Return bytes per second that one core loads, and stores to each cache.

    Keys are paths of a machine (`hardware.machine.numbers_of`).

    Raises:
        MissingExtraError: TVM is not installed.
    """
    _require()
    from trimtab.compiler.tvm.micro import load_loops

    bodies, stride = streams(machine)
    ready = load_loops(bodies, machine.core.llvm_cpu)
    spans: dict[str, int] = {}
    before = 0
    for cache in sorted(machine.caches, key=lambda cache: cache.level):
        # Half of the first; of the others the middle between them and the one before:
        # a last level is shared, and pages beyond its middle miss the address caches.
        middle = math.isqrt(before * cache.size_bytes) or cache.size_bytes // 2
        spans[f"caches.{cache.level}."] = middle
        before = cache.size_bytes
    largest = before or 1 << 24
    memory = min(4 * largest, machine.memory.size_bytes // 4, _MEMORY_BYTES)
    if memory >= 2 * largest:
        spans["memory.core_"] = memory
    spans = {place: 1 << size.bit_length() - 1 for place, size in spans.items()}
    kept, pointer = _memory(max(spans.values()))
    found: dict[str, float] = {}
    for number, (place, span) in enumerate(spans.items()):
        progress(number / len(spans), place[:-1])
        passes = max(span, _STREAM_BYTES) // stride
        for name, run in ready.items():
            way = name.split()[0]
            if place == "memory.core_" and way == "store":
                continue
            once = partial(run, passes, pointer, stride, span)
            least = least_times_s({name: once}, rounds=_STREAM_ROUNDS)[name]
            path, rate = f"{place}{way}_bytes_per_s", passes * stride / least
            found[path] = max(rate, found.get(path, 0.0))
    del kept
    progress(1.0, "done")
    return found


@final
class CodeProbe:
    """The clock, and what code loads from each level and stores, for `calibrate`.

    Beside these the rates stay that a framework's operators reach: they are what
    estimates of its operators need. The clock is what the vector units show, which may
    run slower than the others: their multiply-adds a second over those a cycle, and how
    many these are is measured, too. Efficiencies keep the flops that were measured,
    whatever peak the clock makes of them.
    """

    name = "generated code"

    def measure(self, machine: Machine) -> dict[str, float]:
        """Return numbers by their path.

        Raises:
            MissingExtraError: TVM is not installed.
        """
        _require()
        from trimtab.compiler.tvm.micro import load_loops

        bodies = loops(machine)
        name = next(name for name in bodies if name.endswith("independent"))
        code = {name: bodies[name], _CLOCK: clock(machine)}
        ready = load_loops(code, machine.core.llvm_cpu)
        kept, pointer = _memory(1 << 14)
        times = {
            each: max(1, int(_CALL_S * machine.core.frequency_hz / len(body)))
            for each, body in code.items()
        }
        calls = {
            each: partial(run, times[each], pointer, 0, _LINE_BYTES)
            for each, run in ready.items()
        }
        least = least_times_s(calls, rounds=_ROUNDS)
        del kept
        rates_hz = {each: times[each] * len(code[each]) / least[each] for each in code}
        units = min(
            _UNITS,
            key=lambda each: abs(math.log(rates_hz[name] / rates_hz[_CLOCK] / each)),
        )
        clock_hz = rates_hz[name] / units
        peak = machine.core.frequency_hz * machine.core.fma_units
        scale = peak / (clock_hz * units)
        rates = bandwidths(machine)
        loaded = rates.get("caches.1.load_bytes_per_s")
        return {
            "core.frequency_hz": clock_hz,
            "core.fma_units": units,
            **({"caches.1.bandwidth_bytes_per_s": loaded} if loaded else {}),
            **rates,
            **{
                f"efficiency_frac.{key}": min(1.0, share * scale)
                for key, share in machine.efficiency_frac.items()
            },
        }
