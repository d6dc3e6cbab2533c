"""In-place operators in an exported program: when renaming makes them functional.

An in-place operator can be replaced by its functional form, and every later use of the
overwritten value by the result, unless something else still shows the old memory: a
view that is read later would then miss the change. Such programs are decomposed.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import fx
from torch.export import ExportedProgram

from trimtab.graph.operators import functional_form

__all__ = ["needs_decomposition", "storage_of", "tensor_of", "written_by"]


def tensor_of(node: fx.Node) -> torch.Tensor | None:
    """Return the fake tensor a node stands for, if it is one."""
    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) else None


def storage_of(tensor: torch.Tensor) -> int:
    """Return what identifies the memory of a tensor."""
    return int(tensor.untyped_storage()._cdata)


def written_by(node: fx.Node) -> fx.Node | None:
    """Return the node whose value `node` overwrites, if it does."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return value if isinstance(value, fx.Node) else node
    return node


def needs_decomposition(program: ExportedProgram) -> bool:
    """Whether a value is overwritten in a way that renaming cannot express."""
    nodes = list(program.graph.nodes)
    order = {node: index for index, node in enumerate(nodes)}
    sharing: dict[int, list[fx.Node]] = defaultdict(list)
    for node in nodes:
        tensor = tensor_of(node)
        if tensor is not None:
            sharing[storage_of(tensor)].append(node)
    root: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        if node.op == "get_attr" or isinstance(
            node.target, torch._ops.HigherOrderOperator
        ):
            return True  # a nested graph, such as the body of torch.no_grad()
        written = written_by(node) if node.op == "call_function" else None
        if written is None:
            continue
        base = root.get(written, written)
        root[node] = base
        tensor = tensor_of(written)
        if (
            tensor is None
            or functional_form(str(node.target)) is None
            or not _same_dtype(node, tensor)
        ):
            return True
        for other in sharing[storage_of(tensor)]:
            if root.get(other, other) is base or order[other] > order[node]:
                continue
            if any(order[user] > order[node] for user in other.users):
                return True
    return False


def _same_dtype(node: fx.Node, written: torch.Tensor) -> bool:
    """Whether the functional form keeps the dtype that the in-place form must keep."""
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, fx.Node):
            tensor = tensor_of(value)
            if tensor is None or tensor.dtype != written.dtype:
                return False
        elif isinstance(value, float) and not written.dtype.is_floating_point:
            return False
    return True
