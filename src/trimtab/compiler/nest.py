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
    """

    name: str
    axes: tuple[tuple[Numbers, Mapping[str, Numbers]], ...]
    item_bytes: Numbers
    limit: tuple[float, ...]
    written: bool = False
    weight: bool = False

    def footprints(
        self, loops: Sequence[tuple[str, Numbers]]
    ) -> list[NDArray[np.float64]]:
        """Return the bytes touched inside each loop: all, all but the first ...

        Args:
            loops: name and trips, outermost first.
        """
        extents = [np.asarray(inside, dtype=np.float64) for inside, _ in self.axes]

        def touched() -> NDArray[np.float64]:
            total = np.asarray(self.item_bytes, dtype=np.float64)
            for extent, limit in zip(extents, self.limit, strict=True):
                total = total * np.minimum(extent, limit)
            return total

        found = [touched()]
        for name, trips in reversed(loops):
            for axis, (_, steps) in enumerate(self.axes):
                if name in steps:
                    extents[axis] = extents[axis] + np.asarray(steps[name]) * (
                        trips - 1.0
                    )
            found.append(touched() if self.moved_by(name) else found[-1])
        return found[::-1]

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
    """

    fmas: Numbers = 0.0
    loads: Numbers = 0.0
    broadcasts: Numbers = 0.0
    stores: Numbers = 0.0
    others: Numbers = 0.0
    scalars: Numbers = 0.0
    chains: Numbers = 1.0
    registers: Numbers = 0.0


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
    """

    loops: tuple[tuple[str, Numbers], ...]
    parts: tuple[Part, ...]
    accesses: tuple[Access, ...]
    flops: float
    chunks: Numbers = 1.0
    first_pass: Numbers = 1.0

    def traffic(self, caches_bytes: Sequence[float]) -> list[NDArray[np.float64]]:
        """Return the bytes that come into caches of these sizes from behind them.

        What fits a cache as a whole is there already: the layer before has just written
        it, or the call before has left it; weights that are cold have a limit of their
        own. Otherwise the outermost loop whose data fit is found; inside it everything
        is fetched once. A loop around it that does not move along a tensor finds it
        still there as long as no loop between them moved along it.
        """
        touched = [access.footprints(self.loops) for access in self.accesses]
        moved: list[NDArray[np.float64] | float] = []  # per level, all tensors
        for level in range(len(self.loops) + 1):
            total: NDArray[np.float64] | float = 0.0
            for access, footprints in zip(self.accesses, touched, strict=True):
                times: NDArray[np.float64] | float = 2.0 if access.written else 1.0
                resident = True
                for name, trips in reversed(self.loops[:level]):
                    resident = resident and not access.moved_by(name)
                    if not resident:
                        times = times * trips
                total = total + footprints[level] * times
            moved.append(total)
        sizes = [sum(each[level] for each in touched) for level in range(len(moved))]
        found = []
        for cache in caches_bytes:
            chosen = moved[-1]
            for level in range(len(moved) - 2, -1, -1):
                chosen = np.where(sizes[level] <= cache, moved[level], chosen)
            chosen = np.where(sizes[0] <= cache, 0.0, chosen)
            found.append(np.asarray(chosen, dtype=np.float64))
        return found

    def weight_bytes(self) -> NDArray[np.float64]:
        """Return the bytes of all weights."""
        found = [
            each.footprints(self.loops)[0] for each in self.accesses if each.weight
        ]
        return np.asarray(sum(found) if found else 0.0, dtype=np.float64)


def ceil_div(a: Numbers, b: Numbers) -> NDArray[np.float64]:
    """Return how many steps of b cover a."""
    return np.ceil(np.asarray(a, dtype=np.float64) / np.asarray(b, dtype=np.float64))
