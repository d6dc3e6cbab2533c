"""Why a kernel looks as it does: loops, limits, footprints, machine code.

Text for people, made from the same numbers that decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from trimtab.compiler.assembly.explain import explain as ports
from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.report import hot_loops
from trimtab.compiler.build import Tuned
from trimtab.compiler.fallback import Default, Operator
from trimtab.compiler.model import timing_of
from trimtab.compiler.report import DEFAULT, PYTORCH
from trimtab.compiler.tune import families_of
from trimtab.compiler.tvm.lower import compile_kernels, target_of
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Target
from trimtab.units import format_bytes, format_duration

__all__ = ["explain", "explain_default"]


def explain(tuned: Tuned, machine: Machine, target: Target) -> str:
    """Return the explanation of one kernel.

    Args:
        tuned: the kernel.
        machine: it was decided for.
        target: its code is for.
    """
    return "\n".join(_lines(tuned, machine, target))


def explain_default(operator: Operator, default: Default) -> str:
    """Return the explanation of an operator that no family computes.

    Args:
        operator: the call.
        default: what became of it.
    """
    return "\n".join(_default_lines(operator, default))


def _default_lines(operator: Operator, default: Default) -> Iterator[str]:
    family = f"{DEFAULT} {default.function}" if default.function else PYTORCH
    yield f"{operator.node.op}: {family}"
    yield f"  operator  {operator.text}"
    yield "  no family of schedules computes it; expected from its work were"
    yield f"    {DEFAULT:<18} {format_duration(default.times.default_s)}"
    yield f"    {PYTORCH:<18} {format_duration(default.times.pytorch_s)}"
    if not default.function:
        yield f"  left to PyTorch: {default.reason}"
        return
    yield "  has a kernel: with a default schedule it takes no longer"
    given = format_bytes(sum(default.parameter_bytes))
    yield f"  its {len(default.parameter_bytes)} pointers are to {given}"


def _lines(tuned: Tuned, machine: Machine, target: Target) -> Iterator[str]:
    point = tuned.chosen.point
    timing = timing_of(machine)
    yield f"{tuned.chosen.function}: {type(tuned.work).__name__}, {tuned.family}"
    words = ", ".join(f"{name} {value}" for name, value in point._asdict().items())
    yield f"  schedule  {words}"
    yield f"  chosen from {tuned.judged} schedules by the closed form"
    yield f"  predicted {format_duration(tuned.latency_s)}, the largest of"
    for name, value in sorted(tuned.limits_s.items(), key=lambda pair: -pair[1]):
        yield f"    {name:<14} {format_duration(value)}"
    if tuned.objection:
        yield f"  though its code has {tuned.objection}: no other was predicted faster"
    for schedule, reason in tuned.rejected:
        words = ", ".join(f"{name} {value}" for name, value in schedule.items())
        yield f"  rejected: {words}: {reason}"
    family = next(each for each in families_of(tuned.work) if each.name == tuned.family)
    nests = family.nests(
        tuned.work, [point], lanes=timing.lanes, threads=target.threads
    )
    for _, nest in nests:
        yield from _nest(nest, timing)
    yield "  loops"
    for line in str(tuned.chosen.kernel).splitlines():
        yield f"    {line}"
    yield from _code(tuned, machine, target)


def _nest(nest: Any, timing: Any) -> Iterator[str]:
    def one(value: Any) -> float:
        return float(np.max(np.asarray(value, dtype=np.float64)))

    largest = max(nest.parts, key=lambda part: one(part.steps))
    registers = one(largest.body.registers)
    if registers:
        yield (
            f"  registers {registers:.0f} of {timing.registers}: "
            f"{one(largest.body.chains):.0f} sums, "
            f"{one(largest.body.loads):.0f} vectors loaded and "
            f"{one(largest.body.broadcasts):.0f} elements broadcast in a step"
        )
    names = [name for name, _ in nest.loops]
    if not names:
        return
    yield "  bytes touched inside each loop, outermost first"
    touched = [(each.name, each.footprints(nest.loops)) for each in nest.accesses]
    for level, name in enumerate([*names, "body"]):
        trips = (
            f"{np.ceil(one(nest.loops[level][1])):.0f}" if level < len(names) else ""
        )
        parts = ", ".join(
            f"{access} {format_bytes(int(one(sizes[level])))}"
            for access, sizes in touched
        )
        yield f"    {name:<5}{trips:>6}  {parts}"


def _code(tuned: Tuned, machine: Machine, target: Target) -> Iterator[str]:
    core = microarchitecture(machine.core.llvm_cpu)
    compiled = compile_kernels(
        [tuned.chosen.kernel], target_of(target.llvm_cpu, target.triple)
    )
    loops = [
        (function, loop)
        for function in parse(compiled.assembly())
        for loop in hot_loops(function, core)
    ]
    if not loops:
        yield "  no loop computes with vectors"
        return
    function, hot = max(loops, key=lambda pair: pair[1].weight)
    passes = "unknown" if hot.trips is None else str(hot.trips)
    yield f"  hottest loop of {function.name}: {passes} passes each time it is entered"
    for line in ports(function.body(hot.loop), core).splitlines():
        yield f"    {line}"
