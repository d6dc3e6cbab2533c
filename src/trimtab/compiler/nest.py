"""What a loop nest asks of registers, ports and caches, in closed form.

One `Nest` describes many schedules at once: every number may be an array with one entry
a schedule, so that thousands are judged in a few vectorised steps, before any loop of
them is written. A test compares it with the nests that are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.layout import Layout
from trimtab.compiler.residence import Room, occupied

__all__ = ["Access", "Body", "Nest", "Numbers", "Part"]

Numbers = NDArray[np.float64] | float
"""One number, or one for each schedule."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a tensor is read or written.

    Attributes:
        name: for people.
        axes: for each axis that the loops move along: its extent inside the body, and
            what a step of each loop adds, by the loop's name.
        item_bytes: of what lies together at one place of these axes.
        limit: extent of each axis at most.
        written: whether it is written.
        weight: whether it is a weight, which is cold when a call begins.
        layout: where its elements stand, its axes as `axes`; None if in the order in
            which they are read, without gaps.
    """

    name: str
    axes: tuple[tuple[Numbers, Mapping[str, Numbers]], ...]
    item_bytes: Numbers
    limit: tuple[float, ...]
    written: bool = False
    weight: bool = False
    layout: Layout | None = None

    def footprints(
        self, loops: Sequence[tuple[str, Numbers]]
    ) -> list[NDArray[np.float64]]:
        """Return the bytes touched inside each loop: all, all but the first ...

        Args:
            loops: name and trips, outermost first.
        """
        return [self.bytes_of(extents) for extents in self.blocks(loops)]

    def bytes_of(self, extents: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the bytes of a block."""
        total = np.asarray(self.item_bytes, dtype=np.float64)
        for extent in extents:
            total = total * extent
        return total

    def blocks(
        self, loops: Sequence[tuple[str, Numbers]]
    ) -> list[list[NDArray[np.float64]]]:
        """Return the extents touched inside each loop, of every axis.

        Args:
            loops: name and trips, outermost first.
        """
        extents = [np.asarray(inside, dtype=np.float64) for inside, _ in self.axes]
        found = [extents]
        for name, trips in reversed(loops):
            if self.moved_by(name):
                extents = [
                    extent + np.asarray(steps[name]) * (trips - 1.0)
                    if name in steps
                    else extent
                    for extent, (_, steps) in zip(extents, self.axes, strict=True)
                ]
            found.append(extents)
        ended: list[list[NDArray[np.float64]]] = []
        for place, each in enumerate(found):
            if place and each is found[place - 1]:
                ended.append(ended[-1])
                continue
            pairs = zip(each, self.limit, strict=True)
            ended.append([np.minimum(extent, limit) for extent, limit in pairs])
        return ended[::-1]

    def held(
        self, blocks: Sequence[Sequence[NDArray[np.float64]]], room: Room
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return the bytes of lines touched inside each loop, and the ways they take.

        Args:
            blocks: extents inside each loop, as `blocks` returns them.
            room: of the cache that is to hold them.
        """
        # Operands that are read where the output is written stand as it does.
        copies = np.asarray(self.item_bytes) / 4.0
        found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for place, extents in enumerate(blocks):
            if place and extents is blocks[place - 1]:
                found.append(found[-1])
            elif self.layout is None:
                size = self.bytes_of(extents)
                found.append((size, size / room.way_bytes))
            else:
                size, sets = occupied(self.layout, extents, room)
                found.append((size * copies, sets * copies))
        return found

    def moved_by(self, loop: str) -> bool:
        """Whether a step of the loop goes to other elements."""
        return any(loop in steps for _, steps in self.axes)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What one step of the innermost loop does, in vector instructions.

    Attributes:
        fmas: fused multiply-adds.
        loads: of vectors.
        broadcasts: of scalars into all lanes.
        stores: of vectors.
        others: further vector arithmetic.
        scalars: integer instructions, loop control among them.
        chains: sums that are independent of each other.
        registers: vector registers that are in use at once.
        unrolled: how often it stands in the code one after the other.
    """

    fmas: Numbers = 0.0
    loads: Numbers = 0.0
    broadcasts: Numbers = 0.0
    stores: Numbers = 0.0
    others: Numbers = 0.0
    scalars: Numbers = 0.0
    chains: Numbers = 1.0
    registers: Numbers = 0.0
    unrolled: Numbers = 1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A region of a nest with one shape of register tile: the whole, or a rest.

    Attributes:
        body: of the innermost loop.
        steps: how often the body runs.
        around: what happens around each run through the innermost loops.
        runs: how often that is.
        exits: how often the innermost loop ends, which the core rarely foresees.
    """

    body: Body
    steps: Numbers
    around: Body = field(default_factory=Body)
    runs: Numbers = 0.0
    exits: Numbers = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """Schedules of one workload.

    Attributes:
        loops: name and trips, outermost first; all schedules have this order.
        parts: regions; together they are the work.
        accesses: of tensors.
        flops: of the whole.
        chunks: pieces of equal work that can run at once.
        first_pass: share of the work during which the weights are read first.
        scatter: how much longer data take from level 3 or memory than a plain stream.
    """

    loops: tuple[tuple[str, Numbers], ...]
    parts: tuple[Part, ...]
    accesses: tuple[Access, ...]
    flops: float
    chunks: Numbers = 1.0
    first_pass: Numbers = 1.0
    scatter: Numbers = 1.0

    def traffic(self, rooms: Sequence[Room]) -> list[NDArray[np.float64]]:
        """Return the bytes that come into each of these caches from behind it.

        Those that are written count as `Room.store_loads` that are read.

        What fits a cache as a whole is there already: the layer before has just written
        it, or the call before has left it; weights that are cold have a limit of their
        own. Otherwise the outermost loop whose data fit is found, by their lines and by
        the ways of the sets on which these fall; inside it everything is fetched once.
        A loop around it that does not move along a tensor finds it still there as long
        as no loop between them moved along it. Where not even one step fits, each
        fetches whole lines for the little it reads of them.
        """
        blocks = [access.blocks(self.loops) for access in self.accesses]
        touched = [
            [access.bytes_of(extents) for extents in each]
            for access, each in zip(self.accesses, blocks, strict=True)
        ]
        again = [self._again(access) for access in self.accesses]
        written = [access.written for access in self.accesses]
        # Of what a step shares with the one before, as the rows of windows that slide,
        # nothing is fetched again: together they fetch what the loop touches.
        moved = [
            [
                each[max(level - 1, 0)] * times[level]
                for each, times in zip(touched, again, strict=True)
            ]
            for level in range(len(self.loops) + 1)
        ]
        found = []
        for room in rooms:
            costs = [room.store_loads if each else 1.0 for each in written]
            held = [
                access.held(each, room)
                for access, each in zip(self.accesses, blocks, strict=True)
            ]
            chosen = np.asarray(
                sum(
                    each[-1][0] * self._times(access, len(self.loops)) * cost
                    for access, each, cost in zip(
                        self.accesses, held, costs, strict=True
                    )
                )
            )
            for level in range(len(self.loops), -1, -1):
                inside = [
                    each[level]
                    for access, each in zip(self.accesses, held, strict=True)
                    if not self._in_registers(access, level)
                ]
                size = sum(lines for lines, _ in inside)
                taken = sum(sets for _, sets in inside)
                # Of a set that is a little too full most lines stay: no cache replaces
                # strictly the oldest. From twice its ways on nothing is found again.
                kept = np.clip(2.0 - taken / room.ways, 0.0, 1.0)
                kept = np.where(size <= room.size_bytes, kept, 0.0)
                once = sum(
                    each * cost
                    for each, cost in zip(moved[level], costs, strict=True)
                    if level
                )
                chosen = chosen + kept * (np.asarray(once) - chosen)
            found.append(np.asarray(chosen, dtype=np.float64))
        return found

    def _in_registers(self, access: Access, level: int) -> bool:
        """Whether what is written stays in registers while the inner loops run."""
        return access.written and not any(
            access.moved_by(name) for name, _ in self.loops[level:]
        )

    def _again(self, access: Access) -> list[Numbers]:
        """Return how often what each loop touches is fetched, by the level inside."""
        names = ("", *(name for name, _ in self.loops))
        return [
            self._times(access, level - 1, moved=access.moved_by(name))
            for level, name in enumerate(names)
        ]

    def _times(self, access: Access, level: int, *, moved: bool = False) -> Numbers:
        """Return how often the loops around a level fetch what is touched inside.

        Args:
            access: to a tensor.
            level: loops that are around.
            moved: whether the loop inside them moves on, so that nothing is left.
        """
        times: Numbers = 1.0
        resident = not moved
        for name, trips in reversed(self.loops[: max(level, 0)]):
            resident = resident and not access.moved_by(name)
            if not resident:
                times = times * trips
        return times

    def weight_bytes(self) -> NDArray[np.float64]:
        """Return the bytes of all weights."""
        found = [
            each.footprints(self.loops)[0] for each in self.accesses if each.weight
        ]
        return np.asarray(sum(found) if found else 0.0, dtype=np.float64)


def ceil_div(a: Numbers, b: Numbers) -> NDArray[np.float64]:
    """Return how many steps of b cover a."""
    return np.ceil(np.asarray(a, dtype=np.float64) / np.asarray(b, dtype=np.float64))
