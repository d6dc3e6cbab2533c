"""Estimate: named lower limits of a time; the time is the largest and has its name."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.cost.work import Work
from trimtab.frozen import FrozenDict

__all__ = ["Estimate", "Limit", "NetworkEstimate", "NodeEstimate"]


class Limit(enum.StrEnum):
    """What can bound the time of an operator."""

    COMPUTE = "compute"
    L2 = "L2"
    L3 = "L3"
    MEMORY = "memory"
    COLD_WEIGHTS = "cold weights"
    OVERHEAD = "overhead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Named lower limits of the time of one operator.

    Attributes:
        limits_s: what each resource alone would take.
        overhead_s: what comes on top whatever the limits: starting the operator,
            bringing weights into the layout of its kernel.

    Example:
        >>> e = Estimate(limits_s={Limit.COMPUTE: 3.0, Limit.L2: 2.0}, overhead_s=1.0)
        >>> e.latency_s, str(e.bottleneck)
        (4.0, 'compute')
    """

    limits_s: Mapping[Limit, float]
    overhead_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits_s", FrozenDict(self.limits_s))

    @property
    def latency_s(self) -> float:
        """The largest limit and the overhead."""
        return max(self.limits_s.values(), default=0.0) + self.overhead_s

    @property
    def bottleneck(self) -> Limit:
        """The largest limit, or the overhead where it is larger than all of them."""
        largest = max(
            self.limits_s, key=lambda limit: self.limits_s[limit], default=None
        )
        if largest is None or self.limits_s[largest] < self.overhead_s:
            return Limit.OVERHEAD
        return largest


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEstimate:
    """Work and time of one node; `name` is the node's."""

    name: str
    work: Work
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class NetworkEstimate:
    """Work and time of a graph on a machine, node by node.

    Attributes:
        machine: its name.
        threads: that one call may use.
        nodes: in execution order; the time of the whole is their sum.
    """

    machine: str
    threads: int
    nodes: tuple[NodeEstimate, ...]

    @property
    def latency_s(self) -> float:
        """Predicted time of one call."""
        return sum(node.estimate.latency_s for node in self.nodes)

    @property
    def work(self) -> Work:
        """Work of one call."""
        return sum((node.work for node in self.nodes), Work())

    def by_bottleneck(self) -> dict[Limit, float]:
        """Return the time of the nodes that each limit bounds, largest first."""
        sums: dict[Limit, float] = {}
        for node in self.nodes:
            limit = node.estimate.bottleneck
            sums[limit] = sums.get(limit, 0.0) + node.estimate.latency_s
        return dict(sorted(sums.items(), key=lambda item: -item[1]))
