"""Every cut under every condition on every machine: the points of a study.

The time of a request under conditions is that of `Space`: edge, link and cloud, each
times what slows it down. Nothing is run. Points are worked out in pieces that stay in
a cache; what is kept has one number for each condition, none for each cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.partition.calibrate_points import Fit
from trimtab.partition.conditions import OVERHEAD_BYTES, Objective
from trimtab.partition.factors import FACTORS, Grid
from trimtab.partition.profiles import Profile
from trimtab.partition.space import Space, combined

__all__ = ["AXES", "Outcome", "Side", "Simulation"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int16]

AXES: Final = ("edge", "cloud", "codec", *FACTORS)
"""Names of the axes of an outcome."""

_PIECE: Final = 100_000  # numbers worked out at once: they stay in a core's cache
_FADING: Final = 2.0  # median over low goodput, of objective ``p95``


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A machine that may be the edge or the cloud.

    Attributes:
        name: for people.
        profiles: at each level of pressure on its memory.
    """

    name: str
    profiles: tuple[Profile, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is best under each condition, beside what it must beat.

    Arrays have the axes of `AXES`. Costs are in seconds.

    Attributes:
        objective: that is best.
        points: costs that were worked out.
        best: row of the space, of cut and codec.
        best_s: cost of it.
        alike: cuts whose cost is within noise of it, itself included.
        stay: row that is best in the baseline, for all conditions of the same machines
            and codec.
        stay_s: cost of it.
        static: row that is best for all of these conditions, by its geometric mean.
        static_s: cost of it.
        ends_s: cost of the better of both ends with the same codec, edge alone and
            cloud alone, as far as they are allowed; None where neither is.
        edge_s: of the whole network on the edge; None where it may not run there.
        cloud_s: of the whole network in the cloud, with the input as it is; None where
            some of it must be on the edge.
        compressed_s: the same with the input compressed as an image; None likewise, or
            where it is none.
        drawn_s: cost of every cut in some conditions of each machines and codec: a row
            for each, a column for each cut, infinite where there are fewer.
        drawn_stay: column of the cut that stays, for each row.
    """

    objective: Objective
    points: int
    best: Rows
    best_s: Floats
    alike: Rows
    stay: Rows
    stay_s: Floats
    static: Rows
    static_s: Floats
    ends_s: Floats | None
    edge_s: Floats | None
    cloud_s: Floats | None
    compressed_s: Floats | None
    drawn_s: Floats
    drawn_stay: NDArray[np.intp]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What of some cuts does not depend on conditions: one entry for each cut."""

    head_s: Floats  # by pressure on the edge's memory
    tail_s: Floats  # by pressure on the cloud's
    sizes: Floats
    away: Floats  # 1 where something is sent
    slow: tuple[float, float]  # time of a slow call over a usual one, edge and cloud


@final
class Simulation:
    """A network on machines, ready to be put under conditions.

    Args:
        space: cuts and codecs; those of the same cuts on every machine.
        edges: machines of the edge.
        clouds: machines of the cloud.
        grid: conditions.
        compressed_bytes: of the input as an image; None where it is none.
        fit: of measured points.

    Raises:
        UsageError: no machines, or another number of profiles than levels of pressure.
        DataError: a profile of another network.
    """

    def __init__(
        self,
        space: Space,
        edges: Sequence[Side],
        clouds: Sequence[Side],
        grid: Grid,
        *,
        compressed_bytes: float | None = None,
        fit: Fit | None = None,
    ) -> None:
        self.space, self.grid, self.fit = space, grid, fit or Fit()
        self.edges, self.clouds = tuple(edges), tuple(clouds)
        self.codecs = tuple(dict.fromkeys(space.codecs))
        for sides, levels in (
            (self.edges, grid.edge_memory), (self.clouds, grid.cloud_memory),
        ):  # fmt: skip
            if not sides or any(len(x.profiles) != len(levels) for x in sides):
                raise UsageError(
                    f"machines {', '.join(each.name for each in sides) or '(none)'}",
                    rule=f"each has {len(levels)} profiles, of each pressure on memory",
                    where="trimtab.partition.study",
                    remedy="give a machine, and its profile at each level",
                )
        heads = [np.array([space.head_s(x) for x in s.profiles]) for s in self.edges]
        tails = [np.array([space.tail_s(x) for x in s.profiles]) for s in self.clouds]
        self._heads = [self.fit.edge_scale * each for each in heads]
        self._tails = [self.fit.cloud_scale * each for each in tails]
        self._whole = self._ends(compressed_bytes)
        names = np.array(space.codecs)
        self._rows = [
            np.flatnonzero((names == name) | space.local) for name in self.codecs
        ]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays of an outcome."""
        hardware = (len(self.edges), len(self.clouds), len(self.codecs))
        return (*hardware, *self.grid.shape)

    def _ends(self, compressed_bytes: float | None) -> list[float | None]:
        """Return the bytes of an input that is sent as it is, and compressed."""
        first = next((cut for cut in self.space.cuts if cut.position == 0), None)
        if first is None:
            return [None, None]
        return [float(first.size_bytes), compressed_bytes]

    # One network

    def outcome(
        self,
        objective: Objective,
        *,
        alike_frac: float = 0.05,
        draws: int = 25,
        seed: int = 0,
    ) -> Outcome:
        """Return what is best under every condition.

        Args:
            objective: what is to be best.
            alike_frac: by which costs may differ that cannot be told apart.
            draws: conditions of each pair of machines and codec, of which every cut's
                cost is kept.
            seed: of these draws.
        """
        shape = self.shape
        best = np.zeros(shape, dtype=np.int16)
        alike = np.zeros(shape, dtype=np.int16)
        stay = np.zeros(shape[:3], dtype=np.int16)
        static = np.zeros(shape[:3], dtype=np.int16)
        best_s, stay_s, static_s = (np.zeros(shape) for _ in range(3))
        local = np.flatnonzero(self.space.local)
        end = self.space.local | (self.space.positions == 0)
        ends_s = np.zeros(shape) if end.any() else None
        edge_s = np.zeros(shape) if local.size else None
        ends = [np.zeros(shape) if size is not None else None for size in self._whole]
        rng = np.random.default_rng(seed)
        draws = min(draws, self.grid.count)
        width = max(map(len, self._rows))
        drawn_s = np.full((*shape[:3], draws, width), np.inf)
        drawn_stay = np.zeros((*shape[:3], draws), dtype=np.intp)
        points = 0
        every = slice(None)
        for at in np.ndindex(*shape[:3]):
            rows = self._rows[at[2]]
            terms = self._terms(at, rows)
            logs = np.zeros(len(rows))
            drawn = np.sort(rng.choice(self.grid.count, draws, replace=False))
            before = 0
            for some in self._pieces(len(rows)):
                costs = self._costs(objective, terms, some)
                points += costs.size
                chosen = costs.argmin(axis=-1)
                least = np.take_along_axis(costs, chosen[..., None], axis=-1)
                best[at][some] = rows[chosen]
                best_s[at][some] = least[..., 0]
                alike[at][some] = (costs <= (1 + alike_frac) * least).sum(axis=-1)
                if ends_s is not None:
                    ends_s[at][some] = costs[..., end[rows]].min(axis=-1)
                logs += np.log(costs).sum(axis=tuple(range(costs.ndim - 1)))
                flat = costs.reshape(-1, len(rows))
                here = (drawn >= before) & (drawn < before + len(flat))
                drawn_s[at][here, : len(rows)] = flat[drawn[here] - before]
                before += len(flat)
            stay[at] = best[at][self.grid.baseline]
            drawn_stay[at] = int(np.flatnonzero(rows == stay[at])[0])
            static[at] = rows[int(logs.argmin())]
            for row, into in ((stay[at], stay_s), (static[at], static_s)):
                one = self._terms(at, np.array([row]))
                into[at] = self._costs(objective, one, every)[..., 0]
            if edge_s is not None:
                one = self._terms(at, local[:1])
                edge_s[at] = self._costs(objective, one, every)[..., 0]
            for size, whole in zip(self._whole, ends, strict=True):
                if size is not None and whole is not None:
                    sent = self._sent_whole(at, size)
                    whole[at] = self._costs(objective, sent, every)[..., 0]
        return Outcome(
            objective=objective, points=points, best=best, best_s=best_s, alike=alike,
            stay=stay, stay_s=stay_s, static=static, static_s=static_s, ends_s=ends_s,
            edge_s=edge_s, cloud_s=ends[0], compressed_s=ends[1],
            drawn_s=drawn_s.reshape(-1, width), drawn_stay=drawn_stay.reshape(-1),
        )  # fmt: skip

    def rankings(self, objective: Objective, condition: tuple[int, ...]) -> Floats:
        """Return costs of all cuts with the first codec, under one condition.

        Args:
            objective: what is to be best.
            condition: number of the level of each factor.

        Returns:
            Axes edge, cloud and cut.
        """
        rows = self._rows[0]
        level = condition[0]
        found = np.zeros((*self.shape[:2], len(rows)))
        for edge, cloud in np.ndindex(*self.shape[:2]):
            terms = self._terms((edge, cloud, 0), rows)
            costs = self._costs(objective, terms, slice(level, level + 1))
            found[edge, cloud] = costs[(0, *condition[1:])]
        return found

    # Its points

    def _pieces(self, rows: int) -> Iterator[slice]:
        """Return uplinks whose points fit a cache."""
        each = rows * self.grid.count // self.grid.shape[0]
        step = max(1, _PIECE // max(1, each))
        for start in range(0, self.grid.shape[0], step):
            yield slice(start, start + step)

    def _terms(self, at: tuple[int, ...], rows: NDArray[np.integer]) -> _Terms:
        away = (~self.space.local[rows]).astype(np.float64)
        return _Terms(
            head_s=self._heads[at[0]][:, rows],
            tail_s=self._tails[at[1]][:, rows] * away,
            sizes=self.space.sizes[rows],
            away=away,
            slow=self._slow(at),
        )

    def _sent_whole(self, at: tuple[int, ...], size: float) -> _Terms:
        """Return the terms of an input that is sent; nothing runs on the edge."""
        whole = np.flatnonzero(self.space.positions == 0)
        first = sorted(whole, key=lambda row: self.space.codecs[row] != "raw")[:1]
        return _Terms(
            head_s=np.zeros((len(self.grid.edge_memory), 1)),
            tail_s=self._tails[at[1]][:, first],
            sizes=np.array([size]),
            away=np.ones(1),
            slow=self._slow(at),
        )

    def _slow(self, at: tuple[int, ...]) -> tuple[float, float]:
        edge, cloud = self.edges[at[0]], self.clouds[at[1]]
        return edge.profiles[0].spread, cloud.profiles[0].spread

    def _costs(self, objective: Objective, terms: _Terms, uplinks: slice) -> Floats:
        """Return costs; axes are those of the grid, for some uplinks, and the cuts."""
        grid, slow = self.grid, objective == "p95"
        fading = _FADING if slow else 1.0
        shape = (1, 1, -1, 1, 1, 1, 1)
        edge_load = np.array(grid.edge_load).reshape(shape)
        cloud_load = np.array(grid.cloud_load).reshape(1, 1, 1, -1, 1, 1, 1)
        edge = edge_load * terms.head_s[None, None, None, None, :, None, :]
        cloud = cloud_load * terms.tail_s[None, None, None, None, None, :, :]
        if slow:
            edge, cloud = edge * terms.slow[0], cloud * terms.slow[1]
        rate = np.array(grid.uplink_bytes_per_s[uplinks])[:, None]
        sent = (terms.sizes + OVERHEAD_BYTES) * fading + self.space.result_bytes
        busy = (self.fit.link_scale * terms.away * sent / rate)[
            :, None, None, None, None, None, :
        ]
        trip = np.array(grid.rtt_s)[:, None] * self.fit.link_scale + self.fit.link_s
        trips = (trip * terms.away)[None, :, None, None, None, None, :]
        found = combined(objective, edge, busy + trips, busy, cloud)
        whole = (len(rate), *grid.shape[1:], len(terms.sizes))
        return np.broadcast_to(found, whole)
