"""The time is the largest limit and the overhead; the bottleneck has its name."""

from __future__ import annotations

import copy

import pytest

from trimtab.cost.estimate import Estimate, Limit, NetworkEstimate, NodeEstimate
from trimtab.cost.work import Work


def estimate(overhead_s: float = 0.0, **limits_s: float) -> Estimate:
    return Estimate(
        limits_s={Limit[name.upper()]: value for name, value in limits_s.items()},
        overhead_s=overhead_s,
    )


def node(name: str, each: Estimate, flops: int = 1) -> NodeEstimate:
    return NodeEstimate(name=name, work=Work(flops=flops), estimate=each)


def network(*nodes: NodeEstimate) -> NetworkEstimate:
    return NetworkEstimate(machine="round", threads=1, nodes=nodes)


def test_limits_overlap_and_overhead_adds() -> None:
    each = estimate(0.5, compute=1.0, memory=3.0, cold_weights=2.0)
    assert each.latency_s == 3.0 + 0.5
    assert each.bottleneck is Limit.MEMORY


def test_an_overhead_above_all_limits_is_the_bottleneck() -> None:
    assert estimate(4.0, compute=3.0).bottleneck is Limit.OVERHEAD
    assert estimate(3.0, compute=3.0).bottleneck is Limit.COMPUTE
    assert estimate(4.0, compute=3.0).latency_s == 3.0 + 4.0


def test_without_limits_only_the_overhead_is_left() -> None:
    assert estimate(2.0).latency_s == 2.0
    assert estimate(2.0).bottleneck is Limit.OVERHEAD
    assert estimate().bottleneck is Limit.OVERHEAD


def test_limits_are_copied_and_frozen() -> None:
    limits = {Limit.COMPUTE: 1.0}
    each = Estimate(limits_s=limits, overhead_s=0.0)
    limits[Limit.COMPUTE] = 9.0
    assert each.latency_s == 1.0
    with pytest.raises(TypeError):
        each.limits_s[Limit.L2] = 5.0  # type: ignore[index]
    assert hash(each) == hash(estimate(compute=1.0))
    assert copy.deepcopy(each) == each


def test_a_network_takes_the_sum_of_its_nodes() -> None:
    whole = network(
        node("a", estimate(0.25, compute=1.0), flops=3),
        node("b", estimate(0.25, memory=2.0), flops=4),
    )
    assert whole.latency_s == 1.0 + 0.25 + 2.0 + 0.25
    assert whole.work == Work(flops=3 + 4)
    assert network().latency_s == 0
    assert network().work == Work()


def test_time_by_bottleneck_is_sorted_and_complete() -> None:
    whole = network(
        node("a", estimate(0.25, compute=1.0)),
        node("b", estimate(0.25, memory=2.0)),
        node("c", estimate(0.5, compute=0.75)),
        node("d", estimate(1.0)),
    )
    assert list(whole.by_bottleneck().items()) == [
        (Limit.COMPUTE, 1.0 + 0.25 + 0.75 + 0.5),
        (Limit.MEMORY, 2.0 + 0.25),
        (Limit.OVERHEAD, 1.0),
    ]
    assert sum(whole.by_bottleneck().values()) == whole.latency_s
