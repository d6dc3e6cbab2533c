"""The compiler as a model of latency: what its own code takes, before there is any.

Groups, plan and closed form are those of `trimtab.compiler.build`; no code is made, so
that what only assembly tells (spills) is not in it. Works recur from variant to variant
of a network, and each is ranked once.
"""

from __future__ import annotations

from typing import Any, final

import torch

from trimtab.compiler.build import known_values
from trimtab.compiler.groups import group
from trimtab.compiler.model import Timing, timing_of
from trimtab.compiler.plan import plan
from trimtab.compiler.tasks import Task
from trimtab.compiler.tune import rank
from trimtab.cost.estimate import Estimate, Limit, NetworkEstimate, NodeEstimate
from trimtab.cost.latency import Roofline
from trimtab.graph.types import Graph
from trimtab.hardware.machine import Machine

__all__ = ["ClosedForm"]


@final
class ClosedForm:
    """Predicts kernels of `trimtab.compile`; a `trimtab.cost.latency.LatencyModel`.

    Args:
        seed: of searches through spaces that are too large to judge whole.

    Attributes:
        identity: what is kept of a stage that asks it is good for the same one only.

    Example:
        >>> from torch import nn
        >>> from trimtab.graph.capture import capture
        >>> from trimtab.hardware.load import machine
        >>> net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()).eval()
        >>> graph = capture(net, (torch.zeros(1, 8, 16, 16),))
        >>> found = ClosedForm().estimate(graph, machine("milan"))
        >>> str(found.nodes[0].estimate.bottleneck)
        'compute'
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self.identity = f"closed form, seed {seed}"
        self._known: dict[tuple[Any, str, int], Estimate] = {}

    def estimate(
        self, graph: Graph, machine: Machine, threads: int = 1
    ) -> NetworkEstimate:
        """Return the estimate of every node; of fused ones the first has the time.

        What has no kernel of a family counts as PyTorch's, by the roofline.

        Args:
            graph: the network; weights are not needed, their shapes decide.
            machine: that runs it.
            threads: of a call.

        Raises:
            UnknownMachineError: there is no table for its core.
            UsageError: fewer than one thread.
        """
        roofline = Roofline().estimate(graph, machine, threads)
        timing = timing_of(machine)
        weights = {
            each.shares: torch.ones((), dtype=getattr(torch, each.type.dtype)).expand(
                each.type.shape
            )
            for each in graph.tensors
        }
        grouping = group(graph, known_values(graph, weights))
        planned = plan(graph, grouping, lanes=timing.lanes)
        times: dict[str, list[Estimate]] = {}
        by_name = {each.name: each.estimate for each in roofline.nodes}
        for task in planned.tasks:
            if isinstance(task, Task):
                place = task.nodes[0] if task.nodes else graph.nodes[0].name
                found = self._of(task.work, machine, timing, threads)
                times.setdefault(place, []).append(found)
            else:
                times.setdefault(task.node.name, []).append(by_name[task.node.name])
        return NetworkEstimate(
            machine=machine.name,
            threads=threads,
            nodes=tuple(
                NodeEstimate(
                    name=each.name,
                    work=each.work,
                    estimate=_together(times.get(each.name, [])),
                )
                for each in roofline.nodes
            ),
        )

    def _of(
        self, work: Any, machine: Machine, timing: Timing, threads: int
    ) -> Estimate:
        key = work, machine.name, threads
        if key not in self._known:
            ranking = rank(
                work,
                machine,
                threads=threads,
                timing=timing,
                seed=self._seed,
            )
            best = int(ranking.order[0])
            limits = {
                Limit(name): value for name, value in ranking.limits(best).items()
            }
            start = float(ranking.latency_s[best]) - max(limits.values())
            self._known[key] = Estimate(limits_s=limits, overhead_s=max(0.0, start))
        return self._known[key]


def _together(several: list[Estimate]) -> Estimate:
    """Return kernels one behind the other as one, with the limits of the longest."""
    if not several:
        return Estimate(limits_s={}, overhead_s=0.0)
    longest = max(several, key=lambda each: each.latency_s)
    rest = sum(each.latency_s for each in several) - longest.latency_s
    return Estimate(limits_s=longest.limits_s, overhead_s=longest.overhead_s + rest)
