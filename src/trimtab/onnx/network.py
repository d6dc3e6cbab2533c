"""An ONNX model as a PyTorch module, made of PyTorch's own layers where it can be.

Each node becomes a module that is called by name, each constant a parameter or a known
number: what comes back is an ordinary `torch.fx.GraphModule`, to be captured, compiled,
divided, trained or rewritten like any other network.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from trimtab.errors import OnnxError
from trimtab.onnx.folding import PLACES, gives_numbers
from trimtab.onnx.layers import layer_of
from trimtab.onnx.names import attribute, class_name, identifier
from trimtab.onnx.operators import TRANSLATIONS
from trimtab.onnx.operators.elementwise import torch_type
from trimtab.onnx.operators.table import Operation
from trimtab.onnx.read import opset_of, read
from trimtab.onnx.steps import Entry, KnownNumbers, Step
from trimtab.onnx.values import Known
from trimtab.onnx.values import tensor as as_tensor

__all__ = ["Imported", "load"]

_FEW: Final = 4096
# Whole numbers up to here are known numbers: shapes, axes, permutations.

_OWNED: Final = ("weight", "bias", "running_mean", "running_var")
# What a layer makes of its inputs after the first.

_STATISTICS: Final = {("BatchNormalization", 3), ("BatchNormalization", 4)}
# Inputs that are no parameters: nothing is learned in them.


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """A network that was read from a file.

    Attributes:
        module: in evaluation mode.
        example_inputs: where the file says all sizes, but for a first axis that it
            leaves open and that is one here; None where it does not.
        declared: the inputs as ``--input`` has them, ? for sizes that are open.
        name: for people.
    """

    module: nn.Module
    example_inputs: tuple[Tensor, ...] | None
    declared: tuple[str, ...]
    name: str


def load(path: Path) -> Imported:
    """Return the network of an ONNX file.

    Args:
        path: of the file; what is refused, see `trimtab.onnx.read.read`.

    Raises:
        TrimtabError: what `read` raises, and `OnnxError` for constants or inputs of
            types that no graph has.
    """
    model = read(path, {**TRANSLATIONS, "Constant": None})
    builder = _Builder(model, path)
    module = builder.build()
    return Imported(
        module=module.eval(),
        example_inputs=builder.examples(),
        declared=tuple(each.text() for each in builder.entries),
        name=path.stem,
    )


@final
class _Builder:
    """Makes one module of one model."""

    def __init__(self, model: ModelProto, path: Path) -> None:
        self.graph: GraphProto = model.graph
        self.path = path
        self.opset = opset_of(model)
        self.root = nn.Module()
        self.fx = fx.Graph()
        self.values: dict[str, fx.Node] = {}
        self.constants: dict[str, Known] = {}
        self.known: set[str] = set()  # what may be numbers when it is read
        self.uses: dict[str, set[tuple[str, int]]] = {}
        for node in self.graph.node:
            for place, each in enumerate(node.input):
                self.uses.setdefault(each, set()).add((node.op_type, place))
        self.entries: list[Entry] = []
        self.ranks = _ranks(model)
        self.taken: set[str] = set()
        self.shared: dict[tuple[str, tuple[int, ...], bool], Tensor] = {}

    def build(self) -> nn.Module:
        """Return the module."""
        for tensor in self.graph.initializer:
            self.constants[tensor.name] = self._array(tensor)
        if self.graph.sparse_initializer:
            raise self._wrong("it holds sparse constants")
        owned = set(self.constants)
        names: set[str] = set()
        entries = []
        for each in self.graph.input:
            if each.name not in owned:
                name = identifier(each.name, names)
                entry = self._entry(each, name)
                self.entries.append(entry)
                entries.append((each.name, self.fx.placeholder(name), entry))
        for original, node, entry in entries:
            where = self._add(f"inputs.{entry.name}", entry)
            self.values[original] = self.fx.call_module(where, (node,))
        for proto in self.graph.node:
            if proto.op_type == "Constant":
                self.constants[proto.output[0]] = self._constant(proto)
            else:
                self._node(proto)
        results = [self._value(each.name) for each in self.graph.output]
        self.fx.output(results[0] if len(results) == 1 else tuple(results))
        self.fx.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        return fx.GraphModule(self.root, self.fx, class_name=class_name(self.path.stem))

    def examples(self) -> tuple[Tensor, ...] | None:
        """Return inputs for the sizes that the file says."""
        found = []
        generator = torch.Generator().manual_seed(0)
        for entry in self.entries:
            shape = entry.shape
            if shape is None or any(size is None for size in shape[1:]):
                return None
            sizes = [1 if size is None else size for size in shape]
            if entry.dtype.is_floating_point:
                drawn = torch.randn(sizes, generator=generator).to(entry.dtype)
            else:
                drawn = torch.zeros(sizes, dtype=entry.dtype)
            found.append(drawn)
        return tuple(found)

    def _wrong(self, rule: str, where: str = "") -> OnnxError:
        return OnnxError(
            f"network {str(self.path)!r}",
            rule=rule,
            where=where or str(self.path),
            remedy="export the network again",
        )

    def _entry(self, value: Any, name: str) -> Entry:
        kind = value.type.tensor_type
        dtype = torch_type(kind.elem_type)
        if not value.type.HasField("tensor_type") or dtype is None:
            raise self._wrong(f"input {value.name!r} is no tensor of numbers")
        shape = None
        if kind.HasField("shape"):
            sizes = [
                each.dim_value if each.HasField("dim_value") else None
                for each in kind.shape.dim
            ]
            if any(size is not None and size < 1 for size in sizes):
                raise self._wrong(f"input {value.name!r} is of shape {sizes}")
            shape = tuple(sizes)
        return Entry(name=name, dtype=dtype, shape=shape)

    def _array(self, tensor: TensorProto) -> Known:
        if torch_type(tensor.data_type) is None:
            kind = helper.tensor_dtype_to_string(tensor.data_type)
            raise self._wrong(f"constant {tensor.name!r} is of type {kind}")
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:
            raise self._wrong(f"constant {tensor.name!r} is damaged") from error

    def _constant(self, node: NodeProto) -> Known:
        [attribute] = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return self._array(value)
        if attribute.name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        raise self._wrong(
            f"a constant is given as {attribute.name}", f"node {node.name!r}"
        )

    def _value(self, name: str) -> fx.Node:
        """Return what stands for a value; constants are made on first use."""
        if name not in self.values:
            if name not in self.constants:
                raise self._wrong(f"value {name!r} is read before it is made")
            self.values[name] = self._made(name, self.constants[name])
        return self.values[name]

    def _made(self, name: str, array: Known) -> fx.Node:
        if self._is_number(name, array):
            where = self._add(f"numbers.{attribute(name)}", KnownNumbers(array))
            with self.fx.inserting_before(self._first()):
                return self.fx.call_module(where)
        tensor = torch.from_numpy(np.array(array))  # a copy: the file's is read-only
        path = self._weight(name, self._one(name, self._owned(name, tensor)))
        with self.fx.inserting_before(self._first()):
            return self.fx.get_attr(path)

    def _owned(self, name: str, tensor: Tensor) -> Tensor:
        """Return a parameter, or a buffer where nothing is learned in it."""
        statistics = bool(self.uses.get(name, set()) & _STATISTICS)
        learned = tensor.is_floating_point() and not statistics
        return nn.Parameter(tensor) if learned else tensor

    def _first(self) -> fx.Node:
        """Return the first node that is no input: constants go before it."""
        return next(
            (each for each in self.fx.nodes if each.op != "placeholder"),
            self.fx._root,
        )

    def _is_number(self, name: str, array: Known) -> bool:
        if array.size == 1 and array.ndim <= 1:
            return True
        if array.dtype.kind != "f":
            return array.size <= _FEW
        places = self.uses.get(name, set())
        return bool(places) and all(
            place in PLACES.get(kind, ()) for kind, place in places
        )

    def _node(self, proto: NodeProto) -> None:
        attributes = {
            each.name: helper.get_attribute_value(each) for each in proto.attribute
        }
        outputs = len(proto.output)
        while outputs > 1 and (
            not proto.output[outputs - 1]
            or not self._is_read(proto.output[outputs - 1])
        ):
            outputs -= 1
        operation = Operation(
            kind=proto.op_type,
            opset=self.opset,
            attributes=attributes,
            outputs=outputs,
        )
        constants = {
            place: self.constants[name]
            for place, name in enumerate(proto.input)
            if name in self.constants
        }
        made = layer_of(
            operation,
            constants,
            len([each for each in proto.input if each]),
            self.ranks.get(proto.input[0] if proto.input else ""),
        )
        if made is not None:
            self._tie(made, proto)
            where = self._add(self._path(proto), made)
            value = self._value(proto.input[0])
            if proto.input[0] in self.known:  # such as a state that begins with zeros
                value = self.fx.call_function(as_tensor, (value,))
            self.values[proto.output[0]] = self.fx.call_module(where, (value,))
            return
        step = Step(operation, proto)
        known = {"", *self.known, *self.constants}
        if gives_numbers(operation.kind, known=known.issuperset(proto.input)):
            self.known.update(proto.output)
        arguments = tuple(self._value(each) if each else None for each in proto.input)
        found = self.fx.call_module(self._add(self._path(proto), step), arguments)
        if outputs == 1:
            self.values[proto.output[0]] = found
            return
        for index in range(outputs):
            if proto.output[index]:
                part = self.fx.call_function(operator.getitem, (found, index))
                self.values[proto.output[index]] = part

    def _tie(self, layer: nn.Module, proto: NodeProto) -> None:
        """Give a layer the very tensors that others made of the same constants."""
        for owned, name in zip(_OWNED, proto.input[1:], strict=False):
            tensor = getattr(layer, owned, None)
            if isinstance(tensor, Tensor):
                setattr(layer, owned, self._one(name, tensor))

    def _one(self, name: str, tensor: Tensor) -> Tensor:
        """Return the tensor that was made of a constant first, for the same use."""
        key = (name, tuple(tensor.shape), isinstance(tensor, nn.Parameter))
        return self.shared.setdefault(key, tensor)

    def _is_read(self, name: str) -> bool:
        return name in self.uses or any(each.name == name for each in self.graph.output)

    def _path(self, proto: NodeProto) -> str:
        """Return where the module of a node stands: where its weights did."""
        for name in proto.input[1:]:
            if name in self.constants and name.endswith((".weight", ".bias")):
                return str(name).rpartition(".")[0]
        scopes = [
            each.value
            for each in proto.metadata_props
            if each.key == "pkg.torch.onnx.name_scopes"
        ]
        if scopes:
            parts = re.findall(r"'([^']*)'", scopes[0][:10_000])
            if len(parts) > 1 and parts[-2]:
                return f"{parts[-2]}.{parts[-1]}"
        return (proto.name or proto.output[0]).strip("/").replace("/", ".")

    def _weight(self, name: str, tensor: Tensor) -> str:
        """Put a tensor where its dotted name says, and return that place."""
        path = self._free(name)
        *folders, leaf = path.split(".")
        module = self.root
        for part in folders:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(leaf, tensor)
        else:
            module.register_buffer(leaf, tensor)
        return path

    def _add(self, path: str, module: nn.Module) -> str:
        """Put a module where its path says, and return that place."""
        place = self._free(path)
        *folders, leaf = place.split(".")
        within = self.root
        for part in folders:
            if part not in within._modules:
                within.add_module(part, nn.Module())
            within = within.get_submodule(part)
        within.add_module(leaf, module)
        return place

    def _free(self, path: str) -> str:
        """Return a path like `path` that is no other's, nor leads through a leaf."""
        parts = [attribute(each) for each in path.split(".") if each] or ["value"]
        for end in range(1, len(parts)):
            if ".".join(parts[:end]) in self.taken:
                parts[end - 1] += "_"
        place, count = ".".join(parts), 1
        while place in self.taken or _is_there(self.root, place):
            count += 1
            place = ".".join((*parts[:-1], f"{parts[-1]}_{count}"))
        self.taken.add(place)
        return place


def _is_there(root: nn.Module, place: str) -> bool:
    module: Any = root
    for part in place.split("."):
        module = getattr(module, part, None)
        if module is None:
            return False
    return True


def _ranks(model: ModelProto) -> Mapping[str, int]:
    """Return how many axes values have, as far as ONNX can tell."""
    from onnx import shape_inference

    ranks: dict[str, int] = {}
    try:
        known = shape_inference.infer_shapes(model).graph
    except Exception:  # the model is too large for it, or beyond it: no ranks then
        known = model.graph
    for each in (*known.value_info, *known.input, *known.output):
        if each.type.tensor_type.HasField("shape"):
            ranks[each.name] = len(each.type.tensor_type.shape.dim)
    return ranks
