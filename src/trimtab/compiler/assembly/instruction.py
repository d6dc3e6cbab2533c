"""Instructions as data: the same record for every instruction set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.hardware.operations import LOADS, STORES, Operation

__all__ = ["FLAGS", "Effect", "Instruction", "Memory", "Part"]

_GRANULE = 128
# What every vector of SVE has at least, whose width is written as 0.

FLAGS = "flags"
"""The register of conditions, by one name."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """An operand in memory.

    Attributes:
        base: register, empty where there is none.
        index: register that is scaled and added.
        scale: of the index.
        displacement: in bytes.
        symbol: the name of a constant or of a global.
        size_bytes: that one access moves.
        stack: whether it lies in the function's own frame.
    """

    base: str = ""
    index: str = ""
    scale: int = 1
    displacement: int = 0
    symbol: str = ""
    size_bytes: int
    stack: bool = False

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers that the address is computed from."""
        return tuple(name for name in (self.base, self.index) if name)

    def slots(self, count: int) -> tuple[str, ...]:
        """Return names for places in the frame, of each of so many accesses.

        Example:
            >>> Memory(base="sp", size_bytes=16, stack=True).slots(2)
            ('[sp+0]', '[sp+8]')
        """
        if not self.stack or self.index or not count:
            return ()
        size = self.size_bytes // count
        return tuple(
            f"[{self.base}{self.displacement + size * number:+d}]"
            for number in range(count)
        )


class Part(NamedTuple):
    """One of the things an instruction is made of, as tables of cores know them.

    Attributes:
        operation: its class.
        bits: the width of what it works on.
        times: how often, as in a load of two registers.
    """

    operation: Operation
    bits: int
    times: int = 1


class Effect(NamedTuple):
    """What an instruction does to a whole number, where that is simple.

    Attributes:
        kind: ``set`` (`target` = `value`), ``add`` (`target` = `source` + `value`),
            ``compare`` (`source` with `other` + `value`).
        target: register that is written.
        source: register that is read.
        other: second register of a comparison.
        value: a constant.
    """

    kind: str
    target: str = ""
    source: str = ""
    other: str = ""
    value: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction.

    Attributes:
        text: as it stands.
        mnemonic: its name.
        operation: what it does; a plain load or store is that.
        bits: width of the vector or of the scalar; 0 for vectors of SVE.
        element_bits: width of one element.
        packed: whether it works on all elements of a vector.
        parts: that tables of cores have rows for.
        reads: registers by one name for all their widths, without those of an address.
        writes: registers.
        addend: the register that a multiply-add adds to.
        memory: an operand in memory.
        loads: accesses that read memory.
        stores: accesses that write it.
        broadcast: whether what is loaded fills a vector with one element.
        target: label of a branch.
        condition: of a branch, empty if it is always taken.
        effect: on whole numbers.
    """

    text: str
    mnemonic: str
    operation: Operation
    bits: int = 0
    element_bits: int = 0
    packed: bool = False
    parts: tuple[Part, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    addend: str = ""
    memory: Memory | None = None
    loads: int = 0
    stores: int = 0
    broadcast: bool = False
    target: str = ""
    condition: str = ""
    effect: Effect | None = None

    @property
    def lanes(self) -> int:
        """Elements that are worked on at once."""
        return (self.bits or _GRANULE) // self.element_bits if self.packed else 1

    @property
    def known(self) -> bool:
        """Whether the reader knows what it is."""
        return self.operation is not Operation.UNKNOWN

    @property
    def folded(self) -> bool:
        """Whether a load is part of another operation."""
        return bool(self.loads) and self.operation not in LOADS | STORES
