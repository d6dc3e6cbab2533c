"""What a study varies: link, loads and pressure on memory, and machines under these.

Six conditions, each with at least three levels, in every combination. How each acts:

| condition | what it does |
| --- | --- |
| uplink | goodput from edge to cloud |
| rtt | round trip of a small packet |
| edge load, cloud load | all of that side takes so many times as long |
| edge memory, cloud memory | what is left of memory there: one part in so many |

A neighbour presses on memory by *working* in it: it takes bandwidth and pushes lines
out of caches that are shared. So memory and shared caches are that many times slower
and smaller in the machine that the cost model is asked about (`pressed`). Nodes with
many bytes a flop become slower, others do not. Memory that is only occupied, as
``stress-ng --vm-hang 0`` does, takes nothing but room, and has no effect here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, final

from trimtab.cost.latency import LatencyModel
from trimtab.errors import UsageError
from trimtab.graph.types import Graph
from trimtab.hardware.machine import Machine
from trimtab.partition.profiles import Profile

__all__ = ["FACTORS", "Grid", "grid_of", "pressed", "under_pressure"]

FACTORS: Final = (
    "uplink", "rtt", "edge load", "cloud load", "edge memory", "cloud memory",
)  # fmt: skip
"""Names of the conditions, in the order of the axes of a grid."""

_UPLINK_MBIT_S: Final = (1.0, 1000.0)
_LEVELS: Final = 3  # of the uplink at least


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Levels of each condition, ascending; all combinations are the conditions.

    The baseline is the middle of uplink and round trip, with nothing else on either
    machine.

    Attributes:
        uplink_bytes_per_s: goodput from edge to cloud.
        rtt_s: round trips.
        edge_load: times that the edge is slower.
        cloud_load: times that the cloud is slower.
        edge_memory: parts of memory on the edge, of which one is left.
        cloud_memory: the same of the cloud.

    Raises:
        UsageError: fewer than three levels, or no ascending finite ones from the least.

    Example:
        >>> grid_of(9).shape, grid_of(9).count
        ((9, 3, 3, 3, 3, 3), 2187)
    """

    uplink_bytes_per_s: tuple[float, ...]
    rtt_s: tuple[float, ...] = (0.005, 0.02, 0.08)
    edge_load: tuple[float, ...] = (1.0, 2.0, 4.0)
    cloud_load: tuple[float, ...] = (1.0, 2.0, 4.0)
    edge_memory: tuple[float, ...] = (1.0, 2.0, 4.0)
    cloud_memory: tuple[float, ...] = (1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        for each in fields(self):
            levels = getattr(self, each.name)
            least = 1.0 if each.name.endswith(("load", "memory")) else 0.0
            rising = all(a < b for a, b in itertools.pairwise(levels))
            fits = all(math.isfinite(x) and x >= least and x > 0 for x in levels)
            if len(levels) < _LEVELS or not rising or not fits:
                raise UsageError(
                    f"levels {levels} of {each.name}",
                    rule=f"there are at least {_LEVELS}, ascending, finite, and "
                    + ("at least 1" if least else "above 0"),
                    where="trimtab.partition.factors",
                    remedy="give such levels",
                )

    @property
    def levels(self) -> tuple[tuple[float, ...], ...]:
        """Levels of each of `FACTORS`."""
        return tuple(getattr(self, each.name) for each in fields(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """Levels of each condition."""
        return tuple(map(len, self.levels))

    @property
    def count(self) -> int:
        """Conditions."""
        return math.prod(self.shape)

    @property
    def baseline(self) -> tuple[int, ...]:
        """Number of the level of each condition."""
        return (self.shape[0] // 2, self.shape[1] // 2, 0, 0, 0, 0)


def grid_of(uplinks: int) -> Grid:
    """Return the usual grid, with so many uplinks from 1 to 1000 Mbit/s."""
    low, high = (math.log10(each * 1e6 / 8) for each in _UPLINK_MBIT_S)
    count = max(_LEVELS, uplinks)
    step = (high - low) / (count - 1)
    return Grid(uplink_bytes_per_s=tuple(10 ** (low + step * n) for n in range(count)))


def pressed(machine: Machine, times: float) -> Machine:
    """Return a machine of whose memory a neighbour leaves one part in so many.

    Bandwidth of memory is divided, and the size of caches that cores share. What a
    framework repacks it reads and writes, so that goes no faster than half of the rest.

    Raises:
        UsageError: fewer than 1.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> pi = machine("raspberry-pi-4")
        >>> pressed(pi, 2.0).cache(2).size_bytes, pi.cache(2).size_bytes
        (524288, 1048576)
    """
    if not times >= 1:
        raise UsageError(
            f"pressure of {times} on memory",
            rule="it is the parts of which one is left: at least 1",
            where="trimtab.partition.factors",
            remedy="give 1 for none",
        )
    memory = machine.memory
    left = machine.memory_bandwidth(machine.cores_for(1)) / times
    loaded = memory.core_load_bytes_per_s
    return replace(
        machine,
        memory=replace(
            memory,
            bandwidth_bytes_per_s=memory.bandwidth_bytes_per_s / times,
            core_bandwidth_bytes_per_s=memory.core_bandwidth_bytes_per_s / times,
            core_load_bytes_per_s=None if loaded is None else loaded / times,
        ),
        caches=tuple(
            replace(each, size_bytes=max(1, int(each.size_bytes / times)))
            if each.shared_by_cores > 1
            else each
            for each in machine.caches
        ),
        repack_bytes_per_s=min(machine.repack_bytes_per_s, left / 2)
        if times > 1
        else machine.repack_bytes_per_s,
    )


def under_pressure(
    graph: Graph,
    profile: Profile,
    machine: Machine,
    latency: LatencyModel,
    levels: Sequence[float],
) -> tuple[Profile, ...]:
    """Return a profile at each level of pressure on memory.

    Each node is slower as the model says of the machine; of a profile that the model
    made, that is the model itself.

    Args:
        graph: the network.
        profile: of the machine alone.
        machine: it is of, or one like it.
        latency: the model.
        levels: parts of memory, of which one is left.
    """
    alone = latency.estimate(graph, machine, profile.threads).nodes
    found = []
    for times in levels:
        there = latency.estimate(graph, pressed(machine, times), profile.threads).nodes
        ratios = [
            after.estimate.latency_s / before.estimate.latency_s
            if before.estimate.latency_s
            else 1.0
            for after, before in zip(there, alone, strict=True)
        ]
        found.append(
            replace(
                profile,
                p50_s=tuple(a * b for a, b in zip(profile.p50_s, ratios, strict=True)),
                p90_s=tuple(a * b for a, b in zip(profile.p90_s, ratios, strict=True)),
            )
        )
    return tuple(found)
