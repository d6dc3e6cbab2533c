"""What one instruction costs on a core: micro-operations, slots, latencies."""

from __future__ import annotations

from typing import NamedTuple

from trimtab.compiler.assembly.instruction import Instruction
from trimtab.hardware.cores import Microarchitecture, MicroOp
from trimtab.hardware.operations import FREE, LOADS, STORES, Operation

__all__ = ["Latency", "cost_of", "latency_of"]


class Latency(NamedTuple):
    """Cycles until the result is there.

    Attributes:
        operand: from the registers that are worked on.
        addend: from the register that a multiply-add adds to.
        address: from the registers of an address that is loaded from.
    """

    operand: float
    addend: float
    address: float


def cost_of(
    instruction: Instruction, core: Microarchitecture
) -> tuple[tuple[MicroOp, ...], int] | None:
    """Return micro-operations and front end slots, None if a row is missing."""
    if not instruction.known:
        return None
    uops: list[MicroOp] = []
    slots = 0
    for part in instruction.parts:
        if part.operation in FREE:
            continue
        row = core.row(part.operation, part.bits)
        if row is None:
            return None
        uops += row.uops * part.times
        folded = part.operation in LOADS and instruction.folded
        if not folded or (
            core.splits_indexed and instruction.memory and instruction.memory.index
        ):
            slots += row.slots
    return tuple(uops), max(slots, 1)


def latency_of(instruction: Instruction, core: Microarchitecture) -> Latency:
    """Return the latencies of an instruction; what is unknown has none."""
    work, load = 0.0, 0.0
    for part in instruction.parts:
        row = core.row(part.operation, part.bits)
        if row is None or part.operation in STORES:
            continue
        if part.operation in LOADS:
            load = row.latency
        else:
            work += row.latency
    if instruction.operation in LOADS:
        work = 0.0  # what else it does is to move its address on
    addend = work
    if instruction.addend:
        row = core.row(Operation.FMA, instruction.bits)
        addend = row.accumulate_latency if row is not None else work
    return Latency(work, addend, work + load)
