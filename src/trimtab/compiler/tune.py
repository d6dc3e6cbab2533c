"""Which schedule: thousands by the closed form, the few best by their assembly.

No candidate is ever run. The closed form (`trimtab.compiler.model`) judges every legal
schedule, or those an evolution strategy visits where they are too many. The best are
compiled, and their machine code is read for what only the compiler decides: whether
sums were spilled, whether products were vectorised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.evolve import Knobs, evolve
from trimtab.compiler.loops import Kernel
from trimtab.compiler.model import Timing, predict, timing_of
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces import contraction, contraction_model, depthwise, elementwise
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.depthwise import Depthwise
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.hardware.machine import Machine

__all__ = ["Family", "Ranking", "family_of", "rank"]


_WHOLE = 60_000
# Combinations that are judged one and all, in about a tenth of a second.


class Family(Protocol):
    """Operators that share a space of schedules."""

    name: str

    def knobs(self, work: Any, *, lanes: int, threads: int) -> Knobs:
        """Return what can be chosen."""
        ...

    def points(self, work: Any, *, lanes: int, threads: int) -> Sequence[Any]:
        """Return every legal schedule."""
        ...

    def nests(
        self, work: Any, points: Sequence[Any], *, lanes: int, threads: int
    ) -> list[tuple[NDArray[np.int64], Nest]]:
        """Return what schedules ask for, in groups: their places, and the nest."""
        ...

    def kernel(
        self, work: Any, point: Any, *, lanes: int, threads: int, name: str
    ) -> Kernel:
        """Return the loops of a schedule."""
        ...


@final
class _Contractions:
    name = "contraction"
    knobs = staticmethod(contraction_model.knobs)
    points = staticmethod(contraction_model.points)
    nests = staticmethod(contraction_model.nests)
    kernel = staticmethod(contraction.kernel)


@final
class _Streams:
    """A family whose time is that of its bytes and its arithmetic.

    Its module orders its schedules, the best first, by rules of its own.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self._module = module

    def knobs(self, work: Any, *, lanes: int, threads: int) -> Knobs:
        points = self.points(work, lanes=lanes, threads=threads)
        return Knobs(
            choices={"point": points}, make=lambda point: point, legal=lambda _: True
        )

    def points(self, work: Any, *, lanes: int, threads: int) -> Sequence[Any]:
        found: Sequence[Any] = self._module.points(work, lanes=lanes, threads=threads)
        return found

    def nests(
        self, work: Any, points: Sequence[Any], *, lanes: int, threads: int
    ) -> list[tuple[NDArray[np.int64], Nest]]:
        places = np.arange(len(points))
        rank = 1.0 + 1e-6 * places  # its own order decides between equals
        read, written = float(work.read_bytes), float(work.write_bytes)
        nest = Nest(
            loops=(),
            parts=(
                Part(
                    steps=rank,
                    body=Body(
                        others=work.flops / lanes,
                        loads=read / 4 / lanes,
                        stores=written / 4 / lanes,
                        chains=1e9,
                    ),
                ),
            ),
            accesses=(
                Access(name="read", axes=((read, {}),), item_bytes=1.0, limit=(read,)),
                Access(
                    name="written",
                    axes=((written, {}),),
                    item_bytes=1.0,
                    limit=(written,),
                    written=True,
                ),
            ),
            flops=float(work.flops),
            chunks=float(threads),
        )
        return [(places, nest)]

    def kernel(
        self, work: Any, point: Any, *, lanes: int, threads: int, name: str
    ) -> Kernel:
        found: Kernel = self._module.kernel(
            work, point, lanes=lanes, threads=threads, name=name
        )
        return found


_FAMILIES: Mapping[type, Family] = {
    Contraction: _Contractions(),
    Depthwise: _Streams("depthwise", depthwise),
    Elementwise: _Streams("elementwise", elementwise),
}


def family_of(work: Any) -> Family:
    """Return the family that computes a work."""
    return _FAMILIES[type(work)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Schedules of one work, and what the closed form says of each.

    Attributes:
        points: every legal schedule.
        latency_s: predicted, one a schedule.
        limits_s: named limits, one entry a schedule.
        order: places in `points`, the best first.
    """

    points: Sequence[Any]
    latency_s: NDArray[np.float64]
    limits_s: Mapping[str, NDArray[np.float64]]
    order: NDArray[np.int64]


def rank(
    work: Any,
    machine: Machine,
    *,
    threads: int = 1,
    timing: Timing | None = None,
    points: Sequence[Any] | None = None,
    cold: bool = True,
    seed: int = 0,
) -> Ranking:
    """Return schedules of a work by their predicted time.

    Args:
        work: what to compute.
        machine: that runs it.
        threads: of a call.
        timing: of the core, the machine's own if None.
        points: to judge; all legal ones if None.
        cold: whether weights have left the caches since the last call.
        seed: of the search, where there are too many schedules to judge all.
    """
    family = family_of(work)
    timing = timing or timing_of(machine)
    if points is None:
        space = family.knobs(work, lanes=timing.lanes, threads=threads)
        if space.size <= _WHOLE:
            points = family.points(work, lanes=timing.lanes, threads=threads)
        else:

            def judge(some: Sequence[Any]) -> NDArray[np.float64]:
                return rank(
                    work, machine, threads=threads, timing=timing, points=some, cold=cold
                ).latency_s

            points = evolve(space, judge, seed=seed)
    latency = np.zeros(len(points))
    tie = np.zeros(len(points))
    limits: dict[str, NDArray[np.float64]] = {}
    for places, nest in family.nests(
        work, points, lanes=timing.lanes, threads=threads
    ):
        found = predict(nest, machine, timing, threads=threads, cold=cold)
        latency[places] = found.latency_s
        for name, each in found.limits_s.items():
            limits.setdefault(name, np.zeros(len(points)))[places] = each
        tie[places] = sum(found.limits_s.values())
    # Of equal ones, what is further from its other limits.
    order = np.lexsort((np.arange(len(points)), latency + 1e-3 * tie))
    return Ranking(points=points, latency_s=latency, limits_s=limits, order=order)
