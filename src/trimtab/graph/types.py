"""Graph, Node and their values; over 400 lines, since each refers to the others.

A network as frozen, typed, topological data. A value is named by a `Ref`: the name of
an input, a constant or a node, and which of a node's outputs is meant. Operators are
PyTorch's own (``aten.conv2d.default``); their arguments stand under the names of the
operator's schema, defaults filled in, so that a reader needs neither PyTorch nor the
order of a signature.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from trimtab.errors import GraphError
from trimtab.frozen import FrozenDict
from trimtab.graph.tree import Tree

__all__ = [
    "ITEM_BYTES",
    "Argument",
    "Constant",
    "ConstantKind",
    "Graph",
    "Input",
    "Node",
    "Ref",
    "TensorType",
    "Token",
    "refs_in",
]

ITEM_BYTES = FrozenDict(
    {
        "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
        "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    }
)  # fmt: skip
"""Bytes of one element of every dtype a graph may hold."""


_MAX_RANK = 64
_MAX_ELEMENTS = 1 << 48
# PyTorch itself goes no further; a file that claims more is hostile.


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and dtype of a tensor.

    Example:
        >>> TensorType((1, 3, 4, 4), "float32").size_bytes
        192
    """

    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        if (
            self.dtype not in ITEM_BYTES
            or len(self.shape) > _MAX_RANK
            or not all(type(size) is int and size >= 0 for size in self.shape)
            or self.elements > _MAX_ELEMENTS
        ):
            raise GraphError(
                f"tensor type {self}"[:200],
                rule=f"sizes are not negative, there are at most {_MAX_RANK} of them "
                f"and 2^48 elements, dtypes are {', '.join(ITEM_BYTES)}",
                remedy="convert the tensor to one of these dtypes",
            )

    @property
    def elements(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes its elements take."""
        return self.elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Ref:
    """A value: the output number `output` of what is called `name`."""

    name: str
    output: int = 0

    def __str__(self) -> str:
        return f"%{self.name}" + (f".{self.output}" if self.output else "")


@dataclass(frozen=True, slots=True)
class Token:
    """A word of PyTorch's that is neither number nor text.

    Attributes:
        kind: of the word.
        name: ``float32``, ``strided``, ``channels_last``; a device has no name, it
            means wherever the graph runs.
    """

    kind: Literal["dtype", "device", "layout", "memory_format"]
    name: str

    def __str__(self) -> str:
        return self.name or f"<{self.kind}>"


Argument = (
    Ref | Token | bool | int | float | str | None | tuple["Argument", ...]
)  # what an operator may be given


def refs_in(argument: Argument) -> Iterator[Ref]:
    """Yield the values that an argument mentions, in order.

    Example:
        >>> [str(ref) for ref in refs_in((Ref("x"), 2, (Ref("y", 1),)))]
        ['%x', '%y.1']
    """
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, tuple):
        for each in argument:
            yield from refs_in(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One leaf of the network's arguments.

    Attributes:
        name: of the value.
        type: of the tensor, or None where the leaf is no tensor.
        value: what the leaf was at capture where it is no tensor; it is baked in.
    """

    name: str
    type: TensorType | None
    value: bool | int | float | str | None = None


class ConstantKind(enum.StrEnum):
    """Where a constant came from."""

    PARAMETER = "parameter"
    BUFFER = "buffer"
    TENSOR = "tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A tensor the network owns.

    Attributes:
        name: of the value.
        target: its name in the module's state, ``layer1.0.conv1.weight``.
        kind: parameter, buffer, or a tensor written in the code.
        type: shape and dtype.
        shares: the target whose tensor this is; its own unless the weight is tied.
        frozen: whether it is a parameter that asks for no gradient. PyTorch picks the
            kernel of a product by that, and kernels round differently.
        data: elements in row-major little-endian order, only of kind TENSOR: parameters
            and buffers stand in a weights file.
    """

    name: str
    target: str
    kind: ConstantKind
    type: TensorType
    shares: str
    frozen: bool = False
    data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One call of an operator.

    Attributes:
        name: unique in the graph.
        op: name in the vocabulary (`trimtab.graph.operators`).
        arguments: by name of the operator's schema.
        outputs: type of every output; None where an output is no tensor.
        module: path of the module that made the call, "" for the network itself.
        module_type: class of that module, ``Conv2d``.
        view_of: the value whose memory the outputs share, if they do.
        inputs: the values the node reads, in the order of its arguments.
    """

    name: str
    op: str
    arguments: FrozenDict[str, Argument]
    outputs: tuple[TensorType | None, ...]
    module: str = ""
    module_type: str = ""
    view_of: Ref | None = None
    inputs: tuple[Ref, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once: searches ask the nodes of thousands of graphs.
        found = tuple(
            ref for argument in self.arguments.values() for ref in refs_in(argument)
        )
        object.__setattr__(self, "inputs", found)

    @property
    def output(self) -> TensorType:
        """The type of the first output.

        Raises:
            GraphError: it is no tensor.
        """
        first = self.outputs[0] if self.outputs else None
        if first is None:
            raise GraphError(
                f"first output of node {self.name!r}",
                rule="it is no tensor",
                where=f"module {self.module!r}, operator {self.op}",
                remedy="use `Node.outputs`",
            )
        return first


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network: inputs, constants, nodes in an order they can run in, and outputs.

    Attributes:
        name: for people.
        inputs: leaves of the arguments, in the order of `input_tree`.
        constants: tensors the network owns.
        nodes: in execution order; every value is defined before it is used.
        outputs: leaves of the result, in the order of `output_tree`.
        input_tree: how ``(args, kwargs)`` nest.
        output_tree: how the result nests.

    Raises:
        GraphError: a name occurs twice, or a value is used before it is defined.
    """

    name: str
    inputs: tuple[Input, ...]
    constants: tuple[Constant, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Argument, ...]
    input_tree: Tree
    output_tree: Tree
    _widths: dict[str, int] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        widths = self._widths
        named: tuple[Input | Constant | Node, ...] = (
            *self.inputs,
            *self.constants,
            *self.nodes,
        )
        for each in named:
            if isinstance(each, Node):
                for ref in (*each.inputs, *([each.view_of] if each.view_of else ())):
                    self._require_defined(ref, f"node {each.name!r}")
            if each.name in widths:
                raise GraphError(
                    f"name {each.name!r}",
                    rule="a name stands for one value only",
                    where=f"graph {self.name!r}",
                    remedy="rename one of the two",
                )
            widths[each.name] = len(each.outputs) if isinstance(each, Node) else 1
        for argument in self.outputs:
            if isinstance(argument, tuple | Token):
                raise GraphError(
                    f"output {argument!r}"[:200],
                    rule="outputs are values, numbers, text or None; they nest by the "
                    "output tree",
                    where=f"graph {self.name!r}",
                    remedy="give the leaves one by one",
                )
            for ref in refs_in(argument):
                self._require_defined(ref, "the outputs")
        for leaves, tree, what in (
            (self.inputs, self.input_tree, "inputs"),
            (self.outputs, self.output_tree, "outputs"),
        ):
            if len(leaves) != tree.leaf_count:
                raise GraphError(
                    f"{len(leaves)} {what}",
                    rule=f"their tree has {tree.leaf_count} leaves",
                    where=f"graph {self.name!r}",
                    remedy="give as many leaves as the tree has",
                )

    def _require_defined(self, ref: Ref, where: str) -> None:
        if not 0 <= ref.output < self._widths.get(ref.name, 0):
            raise GraphError(
                f"value {ref}",
                rule="a value must be defined before it is used",
                where=f"{where} of graph {self.name!r}",
                remedy="order the nodes topologically",
            )

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {node.name: index for index, node in enumerate(self.nodes)}

    @cached_property
    def _types(self) -> dict[str, tuple[TensorType | None, ...]]:
        return {
            **{leaf.name: (leaf.type,) for leaf in self.inputs},
            **{constant.name: (constant.type,) for constant in self.constants},
            **{node.name: node.outputs for node in self.nodes},
        }

    @cached_property
    def _constants(self) -> dict[str, Constant]:
        return {constant.name: constant for constant in self.constants}

    def position(self, name: str) -> int:
        """Return the place of the node of that name in `nodes`.

        Raises:
            GraphError: no node has that name.
        """
        if name not in self._positions:
            raise GraphError(
                f"node {name!r}",
                rule="no node has that name",
                where=f"graph {self.name!r}",
                remedy="see the names in the text form of the graph",
            )
        return self._positions[name]

    def node(self, name: str) -> Node:
        """Return the node of that name.

        Raises:
            GraphError: no node has that name.
        """
        return self.nodes[self.position(name)]

    def type_of(self, ref: Ref) -> TensorType:
        """Return the type of a value.

        Raises:
            GraphError: the value is unknown or no tensor.
        """
        types = self._types.get(ref.name, ())
        found = types[ref.output] if 0 <= ref.output < len(types) else None
        if found is None:
            raise GraphError(
                f"type of value {ref}",
                rule="it is unknown or no tensor",
                where=f"graph {self.name!r}",
                remedy="see the values in the text form of the graph",
            )
        return found

    def constant(self, ref: Ref) -> Constant | None:
        """Return the constant a value is, or None where it is computed or given."""
        return self._constants.get(ref.name)

    @cached_property
    def _owners(self) -> dict[Ref, Ref]:
        owners: dict[Ref, Ref] = {}
        for node in self.nodes:
            if node.view_of is not None:
                owner = owners.get(node.view_of, node.view_of)
                for output in range(len(node.outputs)):
                    owners[Ref(node.name, output)] = owner
        return owners

    def owner(self, ref: Ref) -> Ref:
        """Return the value whose memory `ref` shows: itself unless it is a view."""
        return self._owners.get(ref, ref)

    def is_weight(self, ref: Ref) -> bool:
        """Whether a value is a constant or shows the memory of one."""
        return self.owner(ref).name in self._constants

    @cached_property
    def static(self) -> frozenset[str]:
        """Names of what is the same in every call: constants, views of them alone."""
        names = set(self._constants)
        for node in self.nodes:
            if node.view_of is not None and {ref.name for ref in node.inputs} <= names:
                names.add(node.name)
        return frozenset(names)

    @cached_property
    def tensors(self) -> tuple[Constant, ...]:
        """The constants, tied ones once."""
        first: dict[str, Constant] = {}
        for constant in self.constants:
            first.setdefault(constant.shares, constant)
        return tuple(first.values())

    @property
    def parameters(self) -> int:
        """How many trainable numbers the network has, tied ones counted once."""
        return sum(
            constant.type.elements
            for constant in self.tensors
            if constant.kind is ConstantKind.PARAMETER
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants, tied ones counted once."""
        return sum(constant.type.size_bytes for constant in self.tensors)
