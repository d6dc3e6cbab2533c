"""What the machine code of a kernel says: the last word on what LLVM decided.

The closed form counts what a schedule asks for; whether the sums stayed in registers
and the products became vectors stands in the assembly alone. It is generated once for
the few best schedules and read, never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from trimtab.compiler.assembly.program import Function, Loop, parse
from trimtab.compiler.assembly.report import LoopReport, hot_loops
from trimtab.compiler.assembly.trips import trips
from trimtab.hardware.cores import Microarchitecture

__all__ = ["Reading", "read"]

_HOT = 0.2
# Share of the arithmetic from which a loop counts as hot.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The loops of a kernel that compute.

    Attributes:
        cycles: of all passes of loops that compute, and of those around them, in one
            call; None where the code does not say how often a loop runs.
        cycles_per_fma: in the loop that multiplies most; 0 where none does.
        stores_inside: whether that loop writes results, so that nothing is around it.
        loops: with their share of the arithmetic, the largest first.
        spills: accesses of the stack in one pass of each hot loop, together.
        scalar: instructions in hot loops that compute one element only.
        unknown: instructions that the table of the core does not have.
    """

    cycles: float | None
    cycles_per_fma: float
    stores_inside: bool
    loops: tuple[tuple[float, LoopReport], ...]
    spills: int
    scalar: int
    unknown: tuple[str, ...]

    def objection(self) -> str:
        """Return why the code is not what the schedule meant; empty if it is."""
        if self.unknown:
            return f"unknown instructions: {', '.join(self.unknown[:4])}"
        if self.scalar:
            return f"{self.scalar} instructions on single elements in hot loops"
        if self.spills:
            return f"{self.spills} accesses of spilled registers in hot loops"
        return ""


def read(assembly: str, core: Microarchitecture) -> Reading:
    """Return what the assembly of one kernel says.

    Args:
        assembly: as LLVM prints it.
        core: that runs it.
    """
    loops: list[LoopReport] = []
    exact = True
    for function in parse(assembly):
        found = hot_loops(function, core)
        loops += found
        exact = exact and all(_counted(function, each.loop) for each in found)
    total = sum(each.weight for each in loops) or 1.0
    shares = sorted(
        ((each.weight / total, each) for each in loops), key=lambda pair: -pair[0]
    )
    hot = [each.report for share, each in shares if share >= _HOT]
    multiplying = max(
        (each for each in loops if each.report.fmas),
        key=lambda each: each.report.fmas * each.passes,
        default=None,
    )
    return Reading(
        cycles=sum(each.cycles for each in loops) if exact else None,
        cycles_per_fma=multiplying.report.cycles / multiplying.report.fmas
        if multiplying
        else 0.0,
        stores_inside=multiplying is not None
        and multiplying.report.stores > multiplying.report.stack_stores,
        loops=tuple(shares),
        spills=sum(each.spills for each in hot),
        scalar=sum(each.scalar_arithmetic for each in hot),
        unknown=tuple(dict.fromkeys(word for each in hot for word in each.unknown)),
    )


def _counted(function: Function, loop: Loop) -> bool:
    """Whether the passes of a loop and of all around it are known."""
    at: Loop | None = loop
    while at is not None:
        if trips(function, at) is None:
            return False
        at = None if at.parent is None else function.loops[at.parent]
    return True
