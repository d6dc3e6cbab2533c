"""Work: what an operator asks of any machine. Knows no hardware.

Rules stand in `trimtab.cost.rules`, one per operator of the vocabulary. An operator
without a rule is refused: nothing unknown costs zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trimtab.errors import GraphError, UnknownWorkError
from trimtab.graph.operators import is_opaque
from trimtab.graph.types import Argument, Graph, Node, Ref, TensorType, refs_in

__all__ = ["RULES", "Call", "Rule", "Work", "rule", "total_work", "work_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an operator asks of any machine.

    Attributes:
        multiply_adds: of convolutions and products; one is two of `flops`.
        flops: all floating-point operations, those of `multiply_adds` included.
        read_bytes: activations read.
        weight_bytes: constants read; they are cold when a whole network runs.
        write_bytes: results written.

    Example:
        >>> Work(flops=2) + Work(flops=3, read_bytes=8)
        Work(multiply_adds=0, flops=5, read_bytes=8, weight_bytes=0, write_bytes=0)
    """

    multiply_adds: int = 0
    flops: int = 0
    read_bytes: int = 0
    weight_bytes: int = 0
    write_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            multiply_adds=self.multiply_adds + other.multiply_adds,
            flops=self.flops + other.flops,
            read_bytes=self.read_bytes + other.read_bytes,
            weight_bytes=self.weight_bytes + other.weight_bytes,
            write_bytes=self.write_bytes + other.write_bytes,
        )

    @property
    def traffic_bytes(self) -> int:
        """Everything read and written."""
        return self.read_bytes + self.weight_bytes + self.write_bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A node in its graph, as a rule reads it: types and numbers by argument name."""

    graph: Graph
    node: Node

    def has(self, name: str) -> bool:
        """Whether the argument is given and not None."""
        return self.node.arguments.get(name) is not None

    def argument(self, name: str) -> Argument:
        """Return an argument as it stands.

        Raises:
            GraphError: the operator was called without it.
        """
        if name not in self.node.arguments:
            raise self._missing(name, "it is absent")
        return self.node.arguments[name]

    def type(self, name: str) -> TensorType:
        """Return the type of a tensor argument.

        Raises:
            GraphError: the argument is no tensor.
        """
        value = self.argument(name)
        if not isinstance(value, Ref):
            raise self._missing(name, "it is no tensor")
        return self.graph.type_of(value)

    def types(self, name: str) -> tuple[TensorType, ...]:
        """Return the types of all tensors in an argument."""
        return tuple(map(self.graph.type_of, refs_in(self.argument(name))))

    def number(self, name: str) -> int:
        """Return an integer argument.

        Raises:
            GraphError: it is none.
        """
        value = self.argument(name)
        if not isinstance(value, int):
            raise self._missing(name, "it is no integer")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return an argument that is a list of integers.

        Raises:
            GraphError: it is none.
        """
        value = self.argument(name)
        if isinstance(value, int):
            return (value,)
        if not isinstance(value, tuple):
            raise self._missing(name, "it is no list of integers")
        return tuple(each for each in value if isinstance(each, int))

    @property
    def first(self) -> TensorType:
        """The type of the first tensor the node reads."""
        return self.graph.type_of(self.node.inputs[0])

    @property
    def output(self) -> TensorType:
        """The type of the first output."""
        return self.node.output

    def outputs(self) -> Iterator[TensorType]:
        """Yield the types of all outputs."""
        return (kind for kind in self.node.outputs if kind is not None)

    def moved(self, *, flops: int = 0, multiply_adds: int = 0) -> Work:
        """Return work that reads every input and writes every output once."""
        read = weights = 0
        for ref in dict.fromkeys(self.node.inputs):
            size = self.graph.type_of(ref).size_bytes
            if self.graph.is_weight(ref):
                weights += size
            else:
                read += size
        return Work(
            multiply_adds=multiply_adds,
            flops=flops + 2 * multiply_adds,
            read_bytes=read,
            weight_bytes=weights,
            write_bytes=sum(kind.size_bytes for kind in self.outputs()),
        )

    def _missing(self, name: str, problem: str) -> GraphError:
        return GraphError(
            f"argument {name!r} of operator {self.node.op}",
            rule=f"its work rule needs it, and {problem}",
            where=f"node {self.node.name!r}, module {self.node.module!r}",
            remedy="capture the network again",
        )


Rule = Callable[[Call], Work]

RULES: dict[str, Rule] = {}
"""The rule of every operator, filled by `trimtab.cost.rules`."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of these operators.

    Args:
        operators: names without the leading ``aten.``.
    """

    def register(function: Rule) -> Rule:
        for name in operators:
            RULES[f"aten.{name}"] = function
        return function

    return register


def work_of(graph: Graph, node: Node) -> Work:
    """Return the work of one node.

    A node that only shows the memory of another value does none. Of an opaque operator
    nobody knows the arithmetic: its work is its traffic.

    Raises:
        UnknownWorkError: its operator has no rule.
    """
    found = Call.moved if is_opaque(node.op) else RULES.get(node.op)
    if found is None:
        raise UnknownWorkError(
            f"work of operator {node.op!r}",
            rule="it has no rule, and a total without it would be too low",
            where=f"node {node.name!r}, module {node.module!r}",
            remedy="add a rule with @rule in trimtab/cost/rules.py",
        )
    if node.view_of is not None:
        return Work()
    return found(Call(graph, node))


def total_work(graph: Graph) -> Work:
    """Return the work of the whole graph.

    Raises:
        UnknownWorkError: an operator has no rule.
    """
    return sum((work_of(graph, node) for node in graph.nodes), Work())
