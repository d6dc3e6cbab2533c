"""What a design is worth and what it costs, and the limits that it must keep."""

from __future__ import annotations

import re
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
from trimtab.units import parse_count, parse_duration

__all__ = [
    "EXPONENTS",
    "Design",
    "Judge",
    "Values",
    "excess",
    "keeps",
    "limits",
    "pareto",
    "within",
]

EXPONENTS = (0.0, STAGE_EXPONENT, 1.0)
"""Of the mean over stages: robust designs lose at none of them."""

_TOLERANCE = 1e-6  # of a score: what rounding may change

_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)x")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Worth and cost of a design.

    Attributes:
        scores: S for each of `EXPONENTS`.
        parameters: of live modules.
        multiply_adds: of one call.
        latency_s: predicted, of one call.
        shortest: convolutions with a window on the path that has fewest.
    """

    scores: tuple[float, ...]
    parameters: int
    multiply_adds: int
    latency_s: float
    shortest: int

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
            shortest=analysis.shortest,
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


def keeps(values: Values, base: Values, *, robust: bool) -> bool:
    """Whether a design is one to offer in place of another, whatever it costs.

    None may have more layers on its shortest path: networks get worse with more layers
    in line and no shortcut (He et al., "Deep Residual Learning", arXiv 1512.03385), of
    which the score knows nothing. A robust one does not score less at any of
    `EXPONENTS` either.
    """
    if values.shortest > base.shortest:
        return False
    return not robust or all(
        now >= was - _TOLERANCE
        for now, was in zip(values.scores, base.scores, strict=True)
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


def limits(base: Values, asked: Mapping[str, str | float | None]) -> Budget:
    """Return a budget in shares of what a network has, or in quantities.

    Args:
        base: of the network.
        asked: by name of the quantity: ``"0.5x"`` or 0.5 is half of it, ``"2M"`` and
            ``"3ms"`` are quantities; None leaves it free.

    Raises:
        UsageError: a name is no quantity of `Values.as_dict`, or a text is neither.

    Example:
        >>> base = Values(
        ...     scores=(1.0, 1.0, 1.0),
        ...     parameters=10,
        ...     multiply_adds=20,
        ...     latency_s=1.0,
        ...     shortest=1,
        ... )
        >>> limits(base, {"parameters": "0.5x", "latency_s": "3ms"}).latency_s
        0.003
    """
    have = base.as_dict()
    unknown = [name for name in asked if name not in have]
    if unknown:
        raise UsageError(
            f"a limit of {unknown[0]!r}",
            rule=f"a design has {', '.join(have)}",
            where="limits of a design",
            remedy="name one of these",
        )
    found = {
        name: _quantity(each, have[name], name)
        for name, each in asked.items()
        if each is not None
    }
    parameters, multiply_adds = (
        None if found.get(name) is None else round(found[name])
        for name in ("parameters", "multiply_adds")
    )
    return Budget(
        parameters=parameters,
        multiply_adds=multiply_adds,
        latency_s=found.get("latency_s"),
    )


def _quantity(asked: str | float, have: float, name: str) -> float:
    if not isinstance(asked, str):
        return asked * have
    share = _SHARE.fullmatch(asked.strip())
    if share and float(share[1]) > 0:
        return float(share[1]) * have
    time = name == "latency_s"
    try:
        found = parse_duration(asked) if time else float(parse_count(asked))
    except UsageError:
        found = 0.0
    if found <= 0 or (found < 1 and not time):
        raise UsageError(
            f"a limit of {asked!r} on {name}",
            rule="it is neither a quantity above zero nor a share",
            where="limits of a design",
            remedy="write 3ms or 0.9x" if time else "write 500k, 2M or 0.5x",
        )
    return found
