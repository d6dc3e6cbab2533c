"""What a captured network takes and returns, by name, for those who ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final
from urllib.parse import quote

from torch import Tensor

from trimtab.graph.tree import Tree, flatten, unflatten
from trimtab.graph.types import Graph, Ref, TensorType

__all__ = ["DATATYPES", "Model", "Port", "bound", "model_of", "named"]

DATATYPES: Final[dict[str, str]] = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "float16": "FP16", "bfloat16": "BF16",
    "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""The protocol's names of dtypes."""

_JSON_BYTES = 32  # of a number, with what stands around it
_ENVELOPE_BYTES = 64 * 1024  # of all that is not numbers


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A tensor that a network takes or returns.

    Attributes:
        name: in requests.
        type: shape and dtype; of one item, where a model takes any number of them.
        bounds: that integers are below, one for all or one for each entry of the second
            axis; None where they are not known.
    """

    name: str
    type: TensorType
    bounds: tuple[int, ...] | None = None

    def record(self, items: int | None = None) -> dict[str, Any]:
        """Return it as the protocol describes it.

        Args:
            items: on the first axis, where they differ; -1 for any number.
        """
        shape = list(self.type.shape)
        found: dict[str, Any] = {
            "name": self.name,
            "datatype": DATATYPES[self.type.dtype],
            "shape": shape if items is None else [items, *shape[1:]],
        }
        if self.bounds is not None:  # the protocol leaves room for such
            found["parameters"] = {"bounds": list(self.bounds)}
        return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a network is to those who ask.

    Attributes:
        name: in addresses.
        inputs: in order.
        outputs: in order.
        most_items: on the first axis of every tensor, the same of all; None where
            shapes are what they are.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    most_items: int | None = None

    @property
    def path(self) -> str:
        """Where it is asked."""
        return f"/v2/models/{quote(self.name, safe='')}/infer"

    @property
    def most_bytes(self) -> int:
        """Bytes that a request may have: no right one has more."""
        return _ENVELOPE_BYTES + (self.most_items or 1) * sum(
            _JSON_BYTES * port.type.elements for port in self.inputs
        )

    def record(self) -> dict[str, Any]:
        """Return the metadata of the protocol."""
        items = None if self.most_items is None else -1
        found: dict[str, Any] = {
            "name": self.name,
            "versions": [],
            "platform": "trimtab",
            "inputs": [port.record(items) for port in self.inputs],
            "outputs": [port.record(items) for port in self.outputs],
        }
        if self.most_items is not None:
            found["parameters"] = {"most_items": self.most_items}
        return found


def model_of(graph: Graph) -> Model:
    """Return what a captured network takes and returns.

    Inputs have the names of the graph; outputs those of their places: ``output``,
    ``output.0``, ``output.logits``.
    """
    inputs = tuple(
        Port(name=leaf.name, type=leaf.type) for leaf in graph.inputs if leaf.type
    )
    outputs = tuple(
        Port(name=name, type=graph.type_of(each))
        for name, each in zip(_places(graph.output_tree), graph.outputs, strict=True)
        if isinstance(each, Ref)
    )
    return Model(name=graph.name, inputs=inputs, outputs=outputs)


def bound(
    graph: Graph, values: Mapping[str, Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, by place and by name.

    Args:
        graph: of the network.
        values: a tensor for each input; what is no tensor is what it was at capture.
    """
    leaves = (values[leaf.name] if leaf.type else leaf.value for leaf in graph.inputs)
    found: Any = unflatten(leaves, graph.input_tree)
    return found[0], found[1]


def named(graph: Graph, returned: object) -> dict[str, Tensor]:
    """Return the tensors of what a call returned, by the names of `model_of`."""
    leaves = flatten(returned, graph.output_tree, "what the network returned")
    return {
        name: leaf
        for name, leaf in zip(_places(graph.output_tree), leaves, strict=True)
        if isinstance(leaf, Tensor)
    }


def _places(tree: Tree, name: str = "output") -> list[str]:
    if tree.kind == "leaf":
        return [name]
    keys: Sequence[object] = tree.keys or range(len(tree.children))
    return [
        place
        for key, child in zip(keys, tree.children, strict=True)
        for place in _places(child, f"{name}.{key}")
    ]
