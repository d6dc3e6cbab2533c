"""A network run in parts between its cuts, each as a function of tensors.

Parts end at cuts, so that what one function computes is never divided, and heads and
tails of all cuts are made of the same parts. Who makes the functions is not known here:
`trimtab.pipeline.divided` has them compiled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from trimtab.graph.execute import Executor
from trimtab.graph.segment import segment
from trimtab.graph.types import Graph, Node, Ref

__all__ = ["Function", "Make", "Segmented"]

Function: TypeAlias = Callable[..., Sequence[Tensor]]


class Make(Protocol):
    """From a graph of tensors and weights by target to what computes it."""

    @property
    def identity(self) -> str:
        """All that decides the bits, beside graph and weights."""
        ...

    def __call__(self, graph: Graph, weights: Mapping[str, Tensor], /) -> Function:
        """Return what computes a graph."""
        ...


class Segmented(Executor):
    """A graph that runs in parts, from any of some positions to any other.

    Any other range of nodes is run node by node, as by its base.

    Args:
        graph: the network.
        weights: by target.
        positions: where parts end.
        make: returns what computes a part.
        part: positions of the nodes that will run.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Tensor],
        positions: Sequence[int],
        make: Make,
        *,
        part: range | None = None,
    ) -> None:
        super().__init__(graph, weights, part=part)
        start, stop = self.part.start, self.part.stop
        inside = {each for each in positions if start <= each <= stop}
        self._bounds = sorted({start, stop, *inside})
        self._functions: dict[int, tuple[tuple[Ref, ...], tuple[Ref, ...], Function]]
        self._functions = {}
        for first, last in itertools.pairwise(self._bounds):
            found = segment(graph, first, last)
            if found is not None:
                own, given, made = found
                self._functions[first] = given, made, make(own, weights)

    def run(
        self,
        values: Mapping[Ref, Any],
        start: int = 0,
        stop: int | None = None,
        *,
        watch: Callable[[Node], None] | None = None,
    ) -> dict[Ref, Any]:
        """Run nodes ``start <= position < stop``, return what is live after them.

        Raises:
            ExecutionError: a value is missing, or an operator fails.
        """
        stop = len(self.graph.nodes) if stop is None else stop
        known = start in self._bounds and stop in self._bounds and start < stop
        missing = any(ref not in values for ref in self._live[start])
        if not known or missing or watch is not None:
            return super().run(values, start, stop, watch=watch)
        alive = {**self.constants, **values}
        for first in self._bounds:
            if start <= first < stop and first in self._functions:
                given, made, function = self._functions[first]
                results = function(*(alive[ref] for ref in given))
                alive.update(zip(made, results, strict=True))
        return {ref: alive[ref] for ref in self._live[stop]}
