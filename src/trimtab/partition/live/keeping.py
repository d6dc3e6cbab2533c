"""Which layers a side keeps in memory, and how that changes while it works.

Heads are prefixes of each other and tails are suffixes, so that another cut needs no
more than the layers between both: a larger part is loaded while the smaller one works,
and what is too much is let go. Twice the memory, or a stop, is never needed; the stop
is there to be compared with.

| mode | the edge keeps | another cut |
| --- | --- | --- |
| ``shared`` | all layers | at once |
| ``standby`` | what the cut in force and the next best need | at once, if it is that |
| ``lazy`` | what the cut in force needs | once loaded, the old one works until then |
| ``pause`` | what the cut in force needs | lets all go, loads, and requests wait |

(Pause and resume, and building the next pipeline ahead or when it is needed, are the
ways that NEUKONFIG compares: Majeed et al., IC2E 2021.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Literal, final, get_args

from torch import Tensor

from trimtab.graph.execute import Executor
from trimtab.graph.liveness import fixed_names
from trimtab.graph.types import ConstantKind, Graph

__all__ = ["MODES", "Keeping", "Load", "Mode", "Runs"]

Mode = Literal["shared", "standby", "lazy", "pause"]
MODES: tuple[str, ...] = get_args(Mode)

Load = Callable[[Collection[str]], Mapping[str, Tensor]]
"""Returns the weights of some targets."""


Runs = Callable[[Graph, Mapping[str, Tensor], range], Executor]
"""Returns what runs some nodes of a graph."""


def _node_by_node(graph: Graph, weights: Mapping[str, Tensor], part: range) -> Executor:
    return Executor(graph, weights, part=part)


@final
class Keeping:
    """A part of a network in memory.

    Args:
        graph: of the network.
        load: returns weights by target, from a bundle.
        first: positions of the nodes that are kept at first.
        make: returns what runs some nodes with these weights; node by node by default.

    Attributes:
        run: runs the nodes that are kept; calls that began with another one end with
            it, and its weights are let go after them.
        loads: how often something was loaded.
    """

    def __init__(
        self, graph: Graph, load: Load, first: range, make: Runs | None = None
    ) -> None:
        self._graph, self._load = graph, load
        self._make = make or _node_by_node
        self._targets = {
            constant.name: constant.shares
            for constant in graph.constants
            if constant.kind is not ConstantKind.TENSOR
        }
        self._held: dict[str, Tensor] = {}
        self._changing = threading.Lock()
        self.loads = 0
        self.run: Executor = self._with(first)

    @property
    def part(self) -> range:
        """Positions of the nodes that are kept."""
        return self.run.part

    @property
    def bytes(self) -> int:
        """Of the weights that are kept."""
        return sum(each.nbytes for each in self._held.values())

    def has(self, part: range) -> bool:
        """Return whether nodes are kept."""
        mine = self.part
        return mine.start <= part.start and part.stop <= mine.stop

    def size_of(self, part: range) -> int:
        """Return the bytes of the weights of some nodes."""
        names = fixed_names(self._graph, part)
        sizes = {
            each.shares: each.type.size_bytes
            for each in self._graph.constants
            if each.name in names and each.name in self._targets
        }
        return sum(sizes.values())

    def keep(self, part: range, *, empty_first: bool = False) -> Executor:
        """Keep some nodes and no others; return what runs them.

        What runs meanwhile is not disturbed.

        Args:
            part: their positions.
            empty_first: whether to let all go before anything is loaded.

        Raises:
            BundleError: weights cannot be read.
        """
        with self._changing:
            if part == self.part:
                return self.run
            if empty_first:
                nothing = range(part.start, part.start)
                self.run = Executor(self._graph, {}, part=nothing)
                self._held = {}
            self.run = self._with(part)
            return self.run

    def _with(self, part: range) -> Executor:
        wanted = {
            self._targets[name]
            for name in fixed_names(self._graph, part)
            if name in self._targets
        }
        missing = wanted - set(self._held)
        more = self._load(missing) if missing else {}
        self.loads += bool(missing)
        held = {
            name: each for name, each in {**self._held, **more}.items()
            if name in wanted
        }  # fmt: skip
        run = self._make(self._graph, held, part)
        self._held = held
        return run
