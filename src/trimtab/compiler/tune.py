"""Which schedule: thousands by the closed form, the few best by their assembly.

No candidate is ever run. The closed form (`trimtab.compiler.model`) judges every legal
schedule, or those an evolution strategy visits where they are too many. The best are
compiled, and their machine code is read for what only the compiler decides: whether
sums were spilled, whether products were vectorised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.evolve import Knobs, evolve
from trimtab.compiler.loops import Kernel
from trimtab.compiler.model import Timing, predict, timing_of
from trimtab.compiler.nest import Nest
from trimtab.compiler.spaces import (
    attention,
    contraction,
    contraction_model,
    depthwise,
    depthwise_model,
    elementwise,
    embedding,
    normalize,
    pool,
    recurrent,
    reduce,
    softmax,
    streams,
    winograd,
    winograd_model,
    winograd_plan,
)
from trimtab.compiler.spaces.attention import Attention
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.depthwise import Depthwise
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.compiler.spaces.embedding import Embedding
from trimtab.compiler.spaces.normalize import Normalize
from trimtab.compiler.spaces.parts import pieces
from trimtab.compiler.spaces.pool import Pool
from trimtab.compiler.spaces.recurrent import Recurrent
from trimtab.compiler.spaces.reduce import Reduce
from trimtab.compiler.spaces.softmax import Softmax
from trimtab.hardware.machine import Machine

__all__ = ["Family", "Ranking", "families_of", "family_of", "rank"]


_WHOLE = 100_000
# Combinations that are judged one and all, in a few tenths of a second.


class Family(Protocol):
    """Operators that share a space of schedules.

    Attributes:
        name: for people.
        point: class of its schedules.
        reads_code: whether the assembly of the best schedules is read.
    """

    name: str
    point: type
    reads_code: bool

    def shape(self, point: Any) -> object:
        """Return what decides the innermost code: equal shapes, equal code there."""
        ...

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

    def scratch(self, work: Any, point: Any, *, lanes: int, threads: int) -> int:
        """Return the elements of working memory a kernel takes before its output."""
        ...


@final
class _Contractions:
    name = "contraction"
    point: type = contraction.Point
    reads_code = True
    knobs = staticmethod(contraction_model.knobs)
    points = staticmethod(contraction_model.points)
    nests = staticmethod(contraction_model.nests)
    kernel = staticmethod(contraction.kernel)

    def shape(self, point: Any) -> object:
        return (
            point.rows, point.columns, point.vectors, point.unroll, point.partials
        )  # fmt: skip

    def scratch(self, work: Any, point: Any, *, lanes: int, threads: int) -> int:
        return 0


@final
class _Depthwise:
    name = "depthwise"
    point: type = depthwise.Point
    reads_code = True
    knobs = staticmethod(depthwise_model.knobs)
    points = staticmethod(depthwise_model.points)
    nests = staticmethod(depthwise_model.nests)
    kernel = staticmethod(depthwise.kernel)

    def shape(self, point: Any) -> object:
        return (point.rows, point.columns, point.written)

    def scratch(self, work: Any, point: Any, *, lanes: int, threads: int) -> int:
        return 0


@final
class _Winograd:
    name = "winograd"
    point: type = winograd_plan.Point
    reads_code = True
    nests = staticmethod(winograd_model.nests)
    kernel = staticmethod(winograd.kernel)

    def shape(self, point: Any) -> object:
        return (point.tile, point.rows, point.vectors, point.unroll)

    def knobs(self, work: Any, *, lanes: int, threads: int) -> Knobs:
        found = self.points(work, lanes=lanes, threads=threads)
        return Knobs(
            choices={"point": found}, make=lambda point: point, legal=lambda _: True
        )

    def points(self, work: Any, *, lanes: int, threads: int) -> Sequence[Any]:
        """Return the schedules whose tiles find zeros where they reach out."""
        found = winograd_model.points(work, lanes=lanes, threads=threads)
        fits = {
            tile: all(
                have >= need
                for have, need in zip(
                    work.input.halo,
                    winograd_plan.required_halo(work, tile),
                    strict=True,
                )
            )
            for tile in {point.tile for point in found}
        }
        return [point for point in found if fits[point.tile]]

    def scratch(self, work: Any, point: Any, *, lanes: int, threads: int) -> int:
        plan = winograd_plan.Plan.of(work, point, lanes=lanes, threads=threads)
        return plan.scratch_elements


@final
class _Streams:
    """A family whose time is that of its bytes and its arithmetic.

    Its module orders its schedules, the best first, by rules of its own. Where some
    steps wait for others it says in `asked` what is done one after another.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self.point: type = module.Point
        self.reads_code = False
        self._module = module

    def shape(self, point: Any) -> object:
        return point

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
        rank: NDArray[np.float64] = 1.0 + 1e-6 * places.astype(
            np.float64
        )  # its own order decides between equals
        asked: Nest = getattr(self._module, "asked", streams.asked)(
            work, points, lanes=lanes
        )
        at_once = [
            min(self._pieces(work, point, lanes, threads), threads) for point in points
        ]
        nest = replace(
            asked,
            parts=tuple(replace(part, steps=part.steps * rank) for part in asked.parts),
            chunks=np.array(at_once, dtype=np.float64),
        )
        return [(places, nest)]

    def _pieces(self, work: Any, point: Any, lanes: int, threads: int) -> int:
        """Return how many pieces of a schedule can run at once: its loops say."""
        if threads == 1:
            return 1
        if hasattr(self._module, "at_once"):  # where loops take long to write
            return int(self._module.at_once(work, point, lanes=lanes))
        loops = self.kernel(work, point, lanes=lanes, threads=threads, name="k")
        return pieces(loops)

    def kernel(
        self, work: Any, point: Any, *, lanes: int, threads: int, name: str
    ) -> Kernel:
        found: Kernel = self._module.kernel(
            work, point, lanes=lanes, threads=threads, name=name
        )
        return found

    def scratch(self, work: Any, point: Any, *, lanes: int, threads: int) -> int:
        return 0


_FAMILIES: Mapping[type, tuple[Family, ...]] = {
    Contraction: (_Contractions(), _Winograd()),
    Depthwise: (_Depthwise(),),
    **{
        work: (_Streams(name, module),)
        for work, name, module in (
            (Attention, "attention", attention),
            (Elementwise, "elementwise", elementwise),
            (Embedding, "embedding", embedding),
            (Normalize, "normalize", normalize),
            (Pool, "pool", pool),
            (Recurrent, "recurrent", recurrent),
            (Reduce, "reduce", reduce),
            (Softmax, "softmax", softmax),
        )
    },
}


def families_of(work: Any) -> tuple[Family, ...]:
    """Return the families that may compute a work."""
    return _FAMILIES[type(work)]


def family_of(work: Any, point: Any) -> Family:
    """Return the family that a schedule of a work belongs to."""
    return next(each for each in families_of(work) if isinstance(point, each.point))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Schedules of one work, and what the closed form says of each.

    Attributes:
        points: schedules that were judged.
        latency_s: predicted, one a schedule.
        limits_s: named limits, one entry a schedule.
        order: places in `points`, the best first.
        parts: what a limit is made of, as in `model.Prediction`.
    """

    points: Sequence[Any]
    latency_s: NDArray[np.float64]
    limits_s: Mapping[str, NDArray[np.float64]]
    order: NDArray[np.int64]
    parts: Mapping[str, NDArray[np.float64]]

    def limits(self, place: int) -> dict[str, float]:
        """Return the limits of one schedule."""
        return {name: float(each[place]) for name, each in self.limits_s.items()}

    def with_compute(self, place: int, compute_s: float) -> dict[str, float]:
        """Return the limits of one schedule whose arithmetic takes this long."""
        found = self.limits(place)
        found["compute"] = compute_s
        if "cold weights" in found:
            exposed = float(self.parts["exposed"][place])
            found["cold weights"] = float(self.parts["stream_s"][place]) + max(
                exposed * compute_s, found.get("L2", 0.0)
            )
        return found


_PARTS = (
    "together_s", "products", "around_s", "outside_s", "exits_s", "stream_s", "exposed",
)  # fmt: skip


def rank(
    work: Any,
    machine: Machine,
    *,
    threads: int = 1,
    timing: Timing | None = None,
    points: Sequence[Any] | None = None,
    cold: bool = True,
    seed: int = 0,
    winograd: bool = True,
) -> Ranking:
    """Return schedules of a work by their predicted time.

    Args:
        work: what to compute.
        machine: that runs it.
        threads: of a call.
        timing: of the core, the machine's own if None.
        points: to judge; if None all legal ones of every family, or those that
            evolution visits where they are too many.
        cold: whether weights have left the caches since the last call.
        seed: of that search.
        winograd: whether that family is one of them.
    """
    timing = timing or timing_of(machine)

    def judge(some: Sequence[Any]) -> Ranking:
        return _judge(work, some, machine, timing, threads=threads, cold=cold)

    if points is not None:
        return judge(points)
    found: list[Any] = []
    for family in families_of(work):
        if isinstance(family, _Winograd) and not winograd:
            continue
        space = family.knobs(work, lanes=timing.lanes, threads=threads)
        if space.size <= _WHOLE:
            found += family.points(work, lanes=timing.lanes, threads=threads)
        else:
            found += evolve(
                space, lambda some: judge(some).parts["together_s"], seed=seed
            )
    return judge(found)


def _judge(
    work: Any,
    points: Sequence[Any],
    machine: Machine,
    timing: Timing,
    *,
    threads: int,
    cold: bool,
) -> Ranking:
    latency = np.zeros(len(points))
    limits: dict[str, NDArray[np.float64]] = {}
    parts = {name: np.zeros(len(points)) for name in _PARTS}
    members: dict[type, list[int]] = {}
    for index, point in enumerate(points):
        members.setdefault(type(point), []).append(index)
    for indices in members.values():
        some = [points[index] for index in indices]
        nests = family_of(work, some[0]).nests(
            work, some, lanes=timing.lanes, threads=threads
        )
        for inner, nest in nests:
            places = np.array(indices)[inner]
            found = predict(nest, machine, timing, threads=threads, cold=cold)
            latency[places] = found.latency_s
            for name, each in found.limits_s.items():
                limits.setdefault(name, np.zeros(len(points)))[places] = each
            for name, each in parts.items():
                each[places] = getattr(found, name)
    order = np.lexsort((np.arange(len(points)), parts["together_s"]))
    return Ranking(
        points=points, latency_s=latency, limits_s=limits, order=order, parts=parts
    )
