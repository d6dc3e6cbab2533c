"""LatencyModel: whoever can say how long a graph takes on a machine.

The roofline here is the model of eager PyTorch: operators one after another, each as
slow as the slowest of arithmetic, activations and weights allow, plus what it costs to
start it. The compiler brings a model of its own code; `design` and `partition` are
handed either.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol, final

from trimtab.cost import rules as _rules  # fills the table of rules
from trimtab.cost.estimate import Estimate, Limit, NetworkEstimate, NodeEstimate
from trimtab.cost.work import Call, Work, work_of
from trimtab.errors import MachineError, UsageError
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import ConstantKind, Graph, Node
from trimtab.hardware.machine import Machine

__all__ = ["Corrected", "LatencyModel", "Roofline", "efficiency_class"]

assert _rules

_FEW_CHANNELS = 8
# A group with fewer input channels cannot fill a vector with products of one output.


class LatencyModel(Protocol):
    """Predicts how long a graph takes."""

    def estimate(
        self, graph: Graph, machine: Machine, threads: int = 1
    ) -> NetworkEstimate:
        """Return the estimate of every node, in order.

        Raises:
            UnknownWorkError: an operator has no rule.
            MachineError: the machine lacks a number that is needed.
        """
        ...


def efficiency_class(graph: Graph, node: Node) -> str:
    """Return the class in `Machine.efficiency_frac` that a node belongs to."""
    family = OPERATORS[node.op].family
    if family is Family.CONVOLUTION:
        call = Call(graph, node)
        groups = call.number("groups")
        if groups > 1 and _channels(call, groups) < _FEW_CHANNELS:
            return "depthwise"
        return "conv"
    if family in (Family.MATMUL, Family.ATTENTION, Family.RECURRENT):
        return "matmul"
    if family is Family.POOL:
        return "pool"
    return "norm" if family is Family.NORM else "vector"


def _channels(call: Call, groups: int) -> int:
    """Return the input channels of a group."""
    weight = call.type("weight").shape
    transposed = "transpose" in call.node.op or bool(
        call.node.arguments.get("transposed")
    )
    return weight[0] // groups if transposed else weight[1]


@final
class Roofline:
    """The roofline model of eager PyTorch (Williams et al., CACM 52(4), 2009).

    Limits of an operator: its flops at the share of the peak its class reaches; its
    activations at the bandwidth of the smallest memory that holds them; its weights at
    the bandwidth of the smallest memory that holds *all* weights, since every weight is
    read once a call and has left any smaller cache when it is needed again.

    The paper has two limits, of arithmetic and of memory; the levels of cache, the cold
    weights and the overhead are ours.
    """

    def estimate(
        self, graph: Graph, machine: Machine, threads: int = 1
    ) -> NetworkEstimate:
        """Return the estimate of every node, in order.

        Args:
            graph: the network.
            machine: that runs it.
            threads: that one call may use; more than the machine's cores bring nothing.

        Raises:
            UsageError: fewer than one thread.
            UnknownWorkError: an operator has no rule.
            MachineError: the machine lacks the efficiency of a class.
        """
        if threads < 1:
            raise UsageError(
                f"{threads} threads",
                rule="a call needs at least one",
                remedy="give 1 or more",
            )
        weights = sum(
            constant.type.size_bytes
            for constant in graph.tensors
            if constant.kind is not ConstantKind.TENSOR
        )
        used = machine.cores_for(threads)
        nodes = tuple(
            NodeEstimate(
                name=node.name,
                work=(work := work_of(graph, node)),
                estimate=_node(graph, node, work, machine, used, weights),
            )
            for node in graph.nodes
        )
        return NetworkEstimate(machine=machine.name, threads=threads, nodes=nodes)


@final
class Corrected:
    """A model whose times of one machine are scaled by what was observed on it.

    Limits and overhead are scaled alike, so what bounds an operator stays what it was.

    Args:
        model: that predicts.
        factor: measured over predicted.
        fingerprint: of the machine; times of others stay as they are.

    Attributes:
        factor: the same.
        identity: what is kept of a stage that asks it is good for the same one only.

    Raises:
        UsageError: a factor that is not above 0 and finite.
    """

    def __init__(self, model: LatencyModel, factor: float, fingerprint: str) -> None:
        if not 0 < factor < math.inf:
            raise UsageError(
                f"a correction by {factor}",
                rule="it is measured over predicted: above 0 and finite",
                where="trimtab.cost.latency.Corrected",
                remedy="leave the observation out",
            )
        self._model, self._fingerprint = model, fingerprint
        self.factor = factor
        self.identity = f"{type(model).__name__} of {fingerprint} times {factor!r}"

    def estimate(
        self, graph: Graph, machine: Machine, threads: int = 1
    ) -> NetworkEstimate:
        """Return the estimate of every node, in order.

        Raises:
            UnknownWorkError: an operator has no rule.
            MachineError: the machine lacks a number that is needed.
        """
        found = self._model.estimate(graph, machine, threads)
        if not self._fingerprint or machine.fingerprint != self._fingerprint:
            return found
        return replace(
            found,
            nodes=tuple(
                replace(
                    each,
                    estimate=Estimate(
                        limits_s={
                            name: self.factor * seconds
                            for name, seconds in each.estimate.limits_s.items()
                        },
                        overhead_s=self.factor * each.estimate.overhead_s,
                    ),
                )
                for each in found.nodes
            ),
        )


def _node(
    graph: Graph,
    node: Node,
    work: Work,
    machine: Machine,
    cores: int,
    weight_bytes: int,
) -> Estimate:
    limits: dict[Limit, float] = {}
    if work.flops:
        share = _efficiency(machine, efficiency_class(graph, node), node)
        limits[Limit.COMPUTE] = work.flops / (machine.peak_flops_per_s(cores) * share)
    activations = work.read_bytes + work.write_bytes
    if activations:
        level, bandwidth = _level(machine, activations, cores)
        limits[level] = activations / bandwidth
    if work.weight_bytes:
        _, bandwidth = _level(machine, weight_bytes, cores)
        limits[Limit.COLD_WEIGHTS] = work.weight_bytes / bandwidth
    overhead = machine.dispatch_s
    if OPERATORS[node.op].family is Family.CONVOLUTION:
        overhead += machine.convolution_setup_s
        overhead += work.weight_bytes / machine.repack_bytes_per_s
    return Estimate(limits_s=limits, overhead_s=overhead)


def _efficiency(machine: Machine, name: str, node: Node) -> float:
    if name not in machine.efficiency_frac:
        raise MachineError(
            f"efficiency of class {name!r}",
            rule=f"machine {machine.name!r} does not state it",
            where=f"node {node.name!r}, operator {node.op}",
            remedy=f"add efficiency_frac.{name} to the machine's file, or calibrate it",
        )
    return machine.efficiency_frac[name]


def _level(machine: Machine, size_bytes: int, cores: int) -> tuple[Limit, float]:
    """Return the fastest level that holds `size_bytes`, and its bandwidth.

    Level 1 is left out: an operator's operands never fit it together with its code's
    own traffic, and a framework cannot be measured there.
    """
    best = (Limit.MEMORY, machine.memory_bandwidth(cores))
    for level, limit in ((3, Limit.L3), (2, Limit.L2)):
        cache = machine.cache(level)
        if cache is None:
            continue
        instances = max(1, cores // cache.shared_by_cores)
        bandwidth = cache.bandwidth_bytes_per_s * cores
        if size_bytes <= cache.size_bytes * instances and bandwidth > best[1]:
            best = (limit, bandwidth)
    return best
