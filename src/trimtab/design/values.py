"""What a design is worth and what it costs, and the limits that it must keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import final

from trimtab.cost.latency import LatencyModel
from trimtab.cost.verdict import Budget
from trimtab.design.edits import Remove, Repeat, Replace
from trimtab.design.layers import Analysis, analyse
from trimtab.design.score import STAGE_EXPONENT, Score, score
from trimtab.design.variants import Variant
from trimtab.errors import UsageError
from trimtab.graph.types import Constant, Graph, TensorType
from trimtab.hardware.machine import Machine

__all__ = [
    "EXPONENTS",
    "Design",
    "Judge",
    "Values",
    "excess",
    "limits",
    "pareto",
    "within",
]

EXPONENTS = (0.0, STAGE_EXPONENT, 1.0)
"""Of the mean over stages: robust designs lose at none of them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Worth and cost of a design.

    Attributes:
        scores: S for each of `EXPONENTS`.
        parameters: of live modules.
        multiply_adds: of one call.
        latency_s: predicted, of one call.
    """

    scores: tuple[float, ...]
    parameters: int
    multiply_adds: int
    latency_s: float

    @property
    def score(self) -> float:
        """S, with the exponent that is frozen."""
        return self.scores[EXPONENTS.index(STAGE_EXPONENT)]

    def as_dict(self) -> dict[str, float]:
        """Return the quantities that a budget can limit."""
        return {
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "latency_s": self.latency_s,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Edits, and what they make of a network.

    Attributes:
        edits: in rounds; the paths of a round are of what the rounds before have made.
        values: with them.
    """

    edits: tuple[tuple[Remove | Repeat | Replace, ...], ...]
    values: Values


@final
class Judge:
    """Says what a graph is worth and what it costs.

    Args:
        machine: that latencies are of.
        latency: who predicts them.
        threads: of a call.
    """

    def __init__(self, machine: Machine, latency: LatencyModel, threads: int) -> None:
        self._machine, self._latency, self._threads = machine, latency, threads

    def values(self, variant: Variant) -> Values:
        """Return worth and cost of a graph."""
        return self.values_of(
            analyse(variant.graph, windows=variant.windows), self.latency_s(variant)
        )

    def values_of(self, analysis: Analysis, latency_s: float) -> Values:
        """Return worth and cost of a network that was analysed."""
        found: Score = score(analysis)
        return Values(
            scores=tuple(found.with_exponent(each) for each in EXPONENTS),
            parameters=analysis.parameters,
            multiply_adds=analysis.multiply_adds,
            latency_s=latency_s,
        )

    def latency_s(self, variant: Variant) -> float:
        """Return the predicted time of a call; what slides runs as a dense one."""
        estimate = self._latency.estimate(
            _executed(variant), self._machine, self._threads
        )
        return estimate.latency_s


def _executed(variant: Variant) -> Graph:
    """Return the graph with the weights that sliding convolutions are run with."""
    if not variant.windows:
        return variant.graph
    graph = variant.graph
    dense: dict[str, Constant] = {}
    for node in graph.nodes:
        if node.module not in variant.windows or "conv" not in node.op:
            continue
        weight = node.inputs[1]
        constant = graph.constant(weight)
        if constant is not None:
            outputs, _, *window = constant.type.shape
            inputs = graph.type_of(node.inputs[0]).shape[1]
            shape = (outputs, inputs, *window)
            dense[constant.name] = replace(
                constant, type=TensorType(shape, constant.type.dtype)
            )
    return replace(
        graph, constants=tuple(dense.get(each.name, each) for each in graph.constants)
    )


def within(budget: Budget, values: Values) -> bool:
    """Whether every limit is kept."""
    return excess(budget, values) <= 0


def excess(budget: Budget, values: Values) -> float:
    """Return the largest share by which a limit is exceeded, 0 where all are kept."""
    return max(
        (max(0.0, each.value / each.limit - 1.0) for each in
         budget.judge(values.as_dict())),
        default=0.0,
    )  # fmt: skip


def pareto(designs: Iterable[Design]) -> tuple[Design, ...]:
    """Return the designs that no other beats in everything, the best score first.

    Worth is the score; costs are parameters, multiply-adds and latency.
    """

    def point(design: Design) -> tuple[float, ...]:
        values = design.values
        return (
            -values.score, values.parameters, values.multiply_adds, values.latency_s,
        )  # fmt: skip

    ranked = sorted(designs, key=point)
    kept: list[Design] = []
    for each in ranked:
        mine = point(each)
        if not any(
            all(one <= two for one, two in zip(point(other), mine, strict=True))
            for other in kept
        ):
            kept.append(each)
    return tuple(kept)


def limits(base: Values, shares: Mapping[str, float | None]) -> Budget:
    """Return a budget in shares of what a network has.

    Args:
        base: of the network.
        shares: by name of the quantity: 0.5 is half of it; None leaves it free.

    Raises:
        UsageError: a name is no quantity of `Values.as_dict`.
    """
    have = base.as_dict()
    unknown = [name for name in shares if name not in have]
    if unknown:
        raise UsageError(
            f"a limit of {unknown[0]!r}",
            rule=f"a design has {', '.join(have)}",
            where="limits of a design",
            remedy="name one of these",
        )
    return Budget(
        parameters=_whole(have, shares, "parameters"),
        multiply_adds=_whole(have, shares, "multiply_adds"),
        latency_s=None
        if shares.get("latency_s") is None
        else have["latency_s"] * float(shares["latency_s"] or 0.0),
    )


def _whole(
    have: Mapping[str, float], shares: Mapping[str, float | None], name: str
) -> int | None:
    share = shares.get(name)
    return None if share is None else round(have[name] * share)
