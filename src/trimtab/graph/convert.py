"""An exported program -> Graph: values, arguments by name, trees.

Every operator's arguments are put under the names of its schema, defaults filled in.
"""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from trimtab.errors import CaptureError
from trimtab.frozen import FrozenDict
from trimtab.graph.inplace import storages, tensor_of, written_by
from trimtab.graph.opaque import opaque_form, why_not
from trimtab.graph.operators import functional_form, is_opaque, is_view
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import (
    ITEM_BYTES,
    Argument,
    Constant,
    ConstantKind,
    Graph,
    Input,
    Node,
    Ref,
    TensorType,
    Token,
)

__all__ = ["CONSTANT_KINDS", "Reader"]

_MAX_DATA_BYTES = 1 << 20
# Tensors written in the code travel inside graph.json; anything larger is a weight.

_IGNORED = frozenset({"aten._assert_tensor_metadata.default"})
# Checks without a result; the types they check are fixed in the graph.

CONSTANT_KINDS = {
    InputKind.PARAMETER: ConstantKind.PARAMETER,
    InputKind.BUFFER: ConstantKind.BUFFER,
    InputKind.CONSTANT_TENSOR: ConstantKind.TENSOR,
}
"""What of an exported program's inputs the network owns."""

_WORDS: tuple[tuple[type, str], ...] = (
    (torch.dtype, "dtype"),
    (torch.layout, "layout"),
    (torch.memory_format, "memory_format"),
)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class Reader:
    """Turns one exported program into a graph."""

    def __init__(self, module: nn.Module, program: ExportedProgram, title: str) -> None:
        self.module = module
        self.program = program
        self.title = title
        self.current: dict[fx.Node, Ref] = {}
        self.root: dict[fx.Node, fx.Node] = {}
        self.memory = storages(program)

    def graph(self) -> Graph:
        """Return the graph."""
        inputs, constants = self._leaves()
        nodes = tuple(self._nodes())
        call = self.program.call_spec
        assert call.in_spec is not None
        assert call.out_spec is not None
        return Graph(
            name=self.title,
            inputs=inputs,
            constants=constants,
            nodes=nodes,
            outputs=self._outputs(),
            input_tree=self._tree(call.in_spec, "arguments"),
            output_tree=self._tree(call.out_spec, "result"),
        )

    def _leaves(self) -> tuple[tuple[Input, ...], tuple[Constant, ...]]:
        first: dict[int, str] = {}
        shares: dict[str, str] = {}
        frozen = {
            target
            for target, owned in self.module.named_parameters(remove_duplicate=False)
            if not owned.requires_grad
        }
        for target, owned in (
            *self.module.named_parameters(remove_duplicate=False),
            *self.module.named_buffers(remove_duplicate=False),
        ):
            shares[target] = first.setdefault(id(owned), target)
        placeholders = {
            node.name: node
            for node in self.program.graph.nodes
            if node.op == "placeholder"
        }
        inputs: list[Input] = []
        constants: list[Constant] = []
        for spec in self.program.graph_signature.input_specs:
            node = placeholders[spec.arg.name]
            self.current[node] = Ref(node.name)
            tensor = tensor_of(node)
            if spec.kind is InputKind.USER_INPUT:
                inputs.append(self._input(node, tensor, spec.arg))
                continue
            if spec.kind not in CONSTANT_KINDS or tensor is None or spec.target is None:
                raise CaptureError(
                    f"network {self.title!r}",
                    rule=f"it owns something that is no tensor ({spec.kind.name})",
                    where=f"value {spec.arg.name!r}",
                    remedy="keep only parameters and buffers in the module",
                )
            kind = CONSTANT_KINDS[spec.kind]
            constants.append(
                Constant(
                    name=node.name,
                    target=spec.target,
                    kind=kind,
                    type=self._type(tensor, node),
                    shares=shares.get(spec.target, spec.target),
                    frozen=spec.target in frozen,
                    data=self._data(spec.target)
                    if kind is ConstantKind.TENSOR
                    else None,
                )
            )
        return tuple(inputs), tuple(constants)

    def _input(self, node: fx.Node, tensor: torch.Tensor | None, arg: object) -> Input:
        if tensor is not None:
            return Input(name=node.name, type=self._type(tensor, node))
        value = getattr(arg, "value", None)
        if not isinstance(value, bool | int | float | str | None):
            raise CaptureError(
                f"input {node.name!r} of type {type(value).__name__}",
                rule="inputs are tensors, numbers, text or None",
                where=f"network {self.title!r}",
                remedy="pass tensors, in tuples, lists or dicts",
            )
        return Input(name=node.name, type=None, value=value)

    def _data(self, target: str) -> bytes:
        tensor = self.program.constants[target]
        size = tensor.numel() * tensor.element_size()
        if size > _MAX_DATA_BYTES or tensor.is_meta:
            problem = "is on the meta device" if tensor.is_meta else f"has {size} bytes"
            raise CaptureError(
                f"tensor {target!r}, written in the code",
                rule=f"it {problem}; such tensors travel inside the graph and may have "
                f"{_MAX_DATA_BYTES} bytes",
                where=f"network {self.title!r}",
                remedy="register it with register_buffer() in __init__",
            )
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return bytes(flat.view(torch.uint8).numpy().tobytes())

    def _type(self, tensor: torch.Tensor, node: fx.Node) -> TensorType:
        shape = tuple(tensor.shape)
        if not all(type(size) is int for size in shape):
            raise CaptureError(
                f"shape {shape} of {node.name!r}",
                rule="a graph has fixed shapes, this one depends on values",
                where=f"{_place(node)}",
                remedy="avoid operators such as nonzero, unique and boolean indexing",
            )
        name = _dtype_name(tensor.dtype)
        if name not in ITEM_BYTES:
            raise CaptureError(
                f"tensor of dtype {name}",
                rule=f"a graph holds {', '.join(ITEM_BYTES)}",
                where=f"value {node.name!r}, {_place(node)}",
                remedy="convert it; torch.view_as_real does it for complex numbers",
            )
        return TensorType(shape, name)

    def _nodes(self) -> Iterator[Node]:
        for node in self.program.graph.nodes:
            if node.op in ("placeholder", "output"):
                continue
            op = str(node.target)
            if op in _IGNORED:
                continue
            if getattr(node.target, "__name__", "") == "getitem":
                source, index = node.args
                whole = self._ref(source)
                self.current[node] = Ref(whole.name, index)
                continue
            written = written_by(node)
            functional = functional_form(op) or opaque_form(node.target)
            if functional is None:
                raise _unknown(node, _reason(node.target))
            arguments, sharing = self._arguments(node, functional)
            if is_opaque(functional) and sharing is not None:
                raise _unknown(node, "its result shares memory")
            if _draws_or_learns(arguments):
                raise CaptureError(
                    f"operator {op!r} in training",
                    rule="it draws random numbers or changes its own statistics, and a "
                    "graph computes the same each time",
                    where=f"node {node.name!r}, {_place(node)}",
                    remedy="pass training=self.training and call .eval() first",
                )
            self.current[node] = Ref(node.name)
            if written is not None:
                base = self.root.get(written, written)
                self.root[node] = base
                self.current[base] = Ref(node.name)
            module, module_type = _module(node)
            yield Node(
                name=node.name,
                op=functional,
                arguments=arguments,
                outputs=self._output_types(node),
                module=module,
                module_type=module_type,
                view_of=sharing if written is None or is_view(functional) else None,
            )

    def _ref(self, node: fx.Node) -> Ref:
        return self.current[self.root.get(node, node)]

    def _arguments(
        self, node: fx.Node, op: str
    ) -> tuple[FrozenDict[str, Argument], Ref | None]:
        """Return arguments by name, and the value whose memory the result shares."""
        mine = self.memory[node]
        sharing: list[Ref] = []

        def convert(value: object) -> Argument:
            if isinstance(value, fx.Node):
                ref = self._ref(value)
                if self.memory[value] & mine:
                    sharing.append(ref)
                return ref
            if isinstance(value, list | tuple):
                return tuple(convert(each) for each in value)
            if isinstance(value, torch.device):
                return Token("device", "")
            for kind, word in _WORDS:
                if isinstance(value, kind):
                    return Token(cast(Any, word), str(value).removeprefix("torch."))
            if isinstance(value, bool | int | float | str | None):
                return value
            raise CaptureError(
                f"argument {value!r} of operator {op!r}",
                rule="arguments are values, numbers, text and PyTorch's dtypes",
                where=f"node {node.name!r}, {_place(node)}",
                remedy="write the layer with plain numbers",
            )

        found: dict[str, Argument] = {}
        # The names of the functional form: dropout_ calls `self` what dropout calls
        # `input`; the order is the same.
        _, base, overload = op.split(".")
        schema = getattr(getattr(torch.ops.aten, base), overload)._schema
        for index, declared in enumerate(schema.arguments):
            if index < len(node.args):
                value: object = node.args[index]
            elif declared.name in node.kwargs:
                value = node.kwargs[declared.name]
            else:
                value = declared.default_value
            if value is None and declared.has_default_value():
                continue  # absent and None mean the same
            found[declared.name] = convert(value)
        return FrozenDict(found), sharing[0] if sharing else None

    def _output_types(self, node: fx.Node) -> tuple[TensorType | None, ...]:
        values = node.meta.get("val")
        several = values if isinstance(values, list | tuple) else [values]
        return tuple(
            self._type(each, node) if isinstance(each, torch.Tensor) else None
            for each in several
        )

    def _outputs(self) -> tuple[Argument, ...]:
        output = next(node for node in self.program.graph.nodes if node.op == "output")
        specs = self.program.graph_signature.output_specs
        leaves: list[Argument] = []
        for spec, value in zip(specs, output.args[0], strict=True):
            if spec.kind is not OutputKind.USER_OUTPUT:
                continue  # what a decomposed program would write back to its inputs
            if isinstance(value, fx.Node):
                leaves.append(self._ref(value))
            elif isinstance(value, bool | int | float | str | None):
                leaves.append(value)
            else:
                raise CaptureError(
                    f"output of type {type(value).__name__}",
                    rule="outputs are tensors, numbers, text or None",
                    where=f"network {self.title!r}",
                    remedy="return tensors, in tuples, lists or dicts",
                )
        return tuple(leaves)

    def _tree(self, spec: pytree.TreeSpec, what: str) -> Tree:
        if spec.is_leaf():
            return LEAF
        children = tuple(self._tree(child, what) for child in spec.children())
        kind = spec.type
        if kind is tuple:
            return Tree(kind="tuple", children=children)
        if kind is list:
            return Tree(kind="list", children=children)
        if kind in (dict, OrderedDict, defaultdict):
            keys = spec.context[1] if kind is defaultdict else spec.context
            if all(type(key) in (str, int) for key in keys):
                return Tree(kind="dict", keys=tuple(keys), children=children)
        if kind in torch.return_types.all_return_types:
            return Tree(
                kind="return_type",
                keys=kind.__match_args__,
                children=children,
                name=kind.__name__,
            )
        fields = getattr(spec.context, "_fields", None)
        if fields is not None:
            return Tree(
                kind="namedtuple",
                keys=tuple(fields),
                children=children,
                name=spec.context.__name__,
            )
        raise CaptureError(
            f"{what} with a container of type {getattr(kind, '__name__', kind)}",
            rule="arguments and results nest in tuples, lists, dicts and named tuples",
            where=f"network {self.title!r}",
            remedy="return a tuple or a dict with text keys",
        )


def _reason(target: object) -> str:
    return why_not(target) if isinstance(target, OpOverload) else "it is no operator"


def _unknown(node: fx.Node, reason: str) -> CaptureError:
    return CaptureError(
        f"operator {str(node.target)!r}",
        rule="it is not in the vocabulary of graphs, and cannot be kept as it is: "
        f"{reason}",
        where=f"node {node.name!r}, {_place(node)}",
        remedy="write the layer with other operators, or add a line to "
        "trimtab/graph/operators.py and a rule to trimtab/cost/rules.py",
    )


_CALL_NUMBER = re.compile(r"@\d+")


def _module(node: fx.Node) -> tuple[str, str]:
    """Return path and class name of the module that called the operator."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = next(reversed(stack.values()), ("", ""))  # the innermost
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return _CALL_NUMBER.sub("", path), name.rpartition(".")[2]


def _draws_or_learns(arguments: FrozenDict[str, Argument]) -> bool:
    """Whether an operator, called like this, is random or writes its statistics."""
    learns = arguments.get("running_mean") and (
        arguments.get("training") or arguments.get("use_input_stats")
    )
    return bool(learns or arguments.get("train") or arguments.get("dropout_p"))


def _place(node: fx.Node) -> str:
    path, _ = _module(node)
    return f"module {path!r}" if path else "the network itself"
