"""What a pass of a loop takes on a core: named lower limits, the largest is the time.

The limits are the busiest groups of ports, the front end, and the longest chain from
pass to pass. None of them knows caches: operands are taken to be in level 1, what data
must come from further out is the business of footprints, not of instructions.

After Tuna (arXiv 2104.14641), which parses the assembly for vector instructions and
instruction-level parallelism. Here its features are cycles with a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from trimtab.compiler.assembly.chains import longest_chain
from trimtab.compiler.assembly.costs import cost_of
from trimtab.compiler.assembly.inorder import in_order_cycles
from trimtab.compiler.assembly.instruction import Instruction
from trimtab.compiler.assembly.ports import busiest, work_of
from trimtab.compiler.assembly.program import Function, Loop
from trimtab.compiler.assembly.trips import trips
from trimtab.frozen import FrozenDict
from trimtab.hardware.cores import Microarchitecture, MicroOp
from trimtab.hardware.operations import ARITHMETIC, Operation

__all__ = [
    "UNKNOWN_TRIPS",
    "BlockReport",
    "LoopReport",
    "analyse",
    "hot_loops",
    "is_fused",
]

_FUSED = ("cmp", "test", "add", "sub", "inc", "dec", "and")

UNKNOWN_TRIPS = 8
"""Passes that a loop of unknown length is weighed with."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReport:
    """One pass of a loop, or of a block.

    Attributes:
        limits_cycles: lower limits by name: ``ports ...``, ``front end``, ``chain``,
            and ``in order`` where instructions start in the order of the program.
        chain: values that the longest chain goes through.
        instructions: how many.
        slots: of the front end.
        fmas: multiply-adds, packed and scalar.
        fma_lanes: multiplications and additions of one element each, fused.
        scalar_fmas: of one element only.
        arithmetic: vector instructions that compute.
        scalar_arithmetic: those of one element, multiply-adds among them.
        loads: accesses that read memory.
        stores: accesses that write it.
        stack_loads: of them, in the function's own frame.
        stack_stores: of them, in the function's own frame: spilled registers.
        broadcasts: loads that fill a vector with one element.
        unknown: mnemonics without a row, in order; their cost is missing in the limits.
    """

    limits_cycles: Mapping[str, float]
    chain: tuple[str, ...] = ()
    instructions: int
    slots: int
    fmas: int
    fma_lanes: int
    scalar_fmas: int
    arithmetic: int
    scalar_arithmetic: int
    loads: int
    stores: int
    stack_loads: int
    stack_stores: int
    broadcasts: int
    unknown: tuple[str, ...] = ()

    @property
    def cycles(self) -> float:
        """The largest limit."""
        return max(self.limits_cycles.values(), default=0.0)

    @property
    def bottleneck(self) -> str:
        """The name of the largest limit."""
        return max(self.limits_cycles, key=lambda name: self.limits_cycles[name])

    @property
    def spills(self) -> int:
        """Vector and scalar accesses of the frame, which cost a chain or a port."""
        return self.stack_loads + self.stack_stores


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """A loop of a function.

    Attributes:
        loop: its blocks.
        trips: passes each time it is entered, None if unknown.
        passes: in all, for one call; loops of unknown length count as `UNKNOWN_TRIPS`.
        lanes: elements that its arithmetic works on, in one pass.
        report: of the instructions that are in no loop inside.
    """

    loop: Loop
    trips: int | None
    passes: float
    lanes: int
    report: BlockReport = field(repr=False)

    @property
    def weight(self) -> float:
        """Elements that its arithmetic works on, in one call of the function."""
        return self.lanes * self.passes

    @property
    def cycles(self) -> float:
        """Cycles of all its passes in one call of the function."""
        return self.report.cycles * self.passes


def analyse(
    code: Sequence[Instruction], core: Microarchitecture, *, repeated: bool = True
) -> BlockReport:
    r"""Return what one pass of the instructions takes.

    Args:
        code: in order.
        core: its ports and latencies.
        repeated: whether they are the body of a loop; a chain needs one.

    Example:
        >>> from trimtab.compiler.assembly.program import parse
        >>> from trimtab.hardware.cores import microarchitecture
        >>> core = microarchitecture("znver3")
        >>> found, = parse("f: \n vfmadd231ps %ymm1, %ymm2, %ymm0 \n retq")
        >>> analyse(found.blocks[0].instructions[:1], core).cycles
        4.0
    """
    uops: list[MicroOp] = []
    slots = 0
    unknown: dict[str, None] = {}
    for place, each in enumerate(code):
        cost = cost_of(each, core)
        if cost is None:
            unknown.setdefault(each.mnemonic)
            slots += 1
            continue
        if is_fused(code, place, core):
            continue
        uops += cost[0]
        slots += cost[1]
    limits = {
        "ports " + " ".join(sorted(ports)): load
        for ports, load in busiest(work_of(uops)).items()
    }
    limits["front end"] = slots / core.issue_width
    chain = longest_chain(code, core) if repeated else None
    if chain is not None and chain.cycles > 0:
        limits["chain"] = chain.cycles
    if core.in_order:
        limits["in order"] = in_order_cycles(code, core)
    fmas = [each for each in code if each.operation is Operation.FMA]
    computes = [each for each in code if each.operation in ARITHMETIC]
    stacked = [each for each in code if each.memory is not None and each.memory.stack]
    return BlockReport(
        limits_cycles=FrozenDict(limits),
        chain=chain.values if chain is not None else (),
        instructions=len(code),
        slots=slots,
        fmas=len(fmas),
        fma_lanes=sum(each.lanes for each in fmas),
        scalar_fmas=sum(not each.packed for each in fmas),
        arithmetic=len(computes),
        scalar_arithmetic=sum(not each.packed for each in computes),
        loads=sum(each.loads for each in code),
        stores=sum(each.stores for each in code),
        stack_loads=sum(each.loads for each in stacked),
        stack_stores=sum(each.stores for each in stacked),
        broadcasts=sum(each.broadcast for each in code),
        unknown=tuple(unknown),
    )


def is_fused(code: Sequence[Instruction], place: int, core: Microarchitecture) -> bool:
    """Return whether an instruction becomes one with the jump behind it."""
    each = code[place]
    return (
        core.fuses_branches
        and place + 1 < len(code)
        and each.operation is Operation.INTEGER
        and not each.stores
        and each.mnemonic.startswith(_FUSED)
        and code[place + 1].operation is Operation.BRANCH
        and bool(code[place + 1].condition)
    )


def hot_loops(function: Function, core: Microarchitecture) -> tuple[LoopReport, ...]:
    """Return the loops that compute with vectors, the one that does most first.

    What stands in a loop between the loops inside is reported as that loop's own. A
    loop that neither computes nor has one inside that does is left out.
    """
    found: list[LoopReport] = []
    passes: list[float] = []
    counts: list[int | None] = []
    for loop in function.loops:
        count = trips(function, loop)
        entered = 1.0 if loop.parent is None else passes[loop.parent]
        passes.append(entered * (UNKNOWN_TRIPS if count is None else count))
        counts.append(count)
    lanes_of = [
        sum(each.lanes for each in function.body(loop) if each.operation in ARITHMETIC)
        for loop in function.loops
    ]
    around = set[int]()
    for place, loop in enumerate(function.loops):
        outer = loop.parent if lanes_of[place] else None
        while outer is not None:
            around.add(outer)
            outer = function.loops[outer].parent
    for place, (loop, count, total) in enumerate(
        zip(function.loops, counts, passes, strict=True)
    ):
        code, lanes = function.body(loop), lanes_of[place]
        if lanes or place in around:
            found.append(
                LoopReport(
                    loop=loop,
                    trips=count,
                    passes=total,
                    lanes=lanes,
                    report=analyse(code, core),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.weight, each.loop.header)))
