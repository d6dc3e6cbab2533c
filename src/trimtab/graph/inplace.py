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

from trimtab.errors import CaptureError
from trimtab.graph.operators import functional_form

__all__ = [
    "needs_decomposition",
    "storage_of",
    "storages",
    "tensor_of",
    "written_by",
]

_PREDICATES = frozenset(
    {
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "isnan",
        "isinf",
        "logical_and",
        "logical_or",
        "logical_not",
        "logical_xor",
    }
)
# Their results are bool; in place they keep the dtype.

_IDENTITIES = frozenset(
    f"aten.{name}.default" for name in ("dropout", "feature_dropout", "alpha_dropout")
)


def tensor_of(node: fx.Node) -> torch.Tensor | None:
    """Return the fake tensor a node stands for, if it is one."""
    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) else None


def storage_of(tensor: torch.Tensor) -> int:
    """Return what identifies the memory of a tensor."""
    return int(tensor.untyped_storage()._cdata)


def storages(program: ExportedProgram) -> dict[fx.Node, frozenset[int]]:
    """Return what identifies the memory of every value; shared memory is the same.

    The fake tensors of a trace share storage as the real ones would, except that
    dropout in evaluation, which hands on its input itself, shows a new one.
    """
    same: dict[int, int] = {}
    found: dict[fx.Node, frozenset[int]] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        several = value if isinstance(value, list | tuple) else [value]
        ids = {storage_of(each) for each in several if isinstance(each, torch.Tensor)}
        if _is_identity(node):
            (source,) = found[node.args[0]]
            same.update(dict.fromkeys(ids - {source}, source))
        found[node] = frozenset(same.get(each, each) for each in ids)
    return found


def _is_identity(node: fx.Node) -> bool:
    if str(node.target) not in _IDENTITIES or tensor_of(node) is None:
        return False
    train = node.args[2] if len(node.args) > 2 else node.kwargs.get("train")
    return train is False


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
    """Whether a value is overwritten in a way that renaming cannot express.

    Raises:
        CaptureError: decomposition could not express it either.
    """
    nodes = list(program.graph.nodes)
    order = {node: index for index, node in enumerate(nodes)}
    memory = storages(program)
    sharing: dict[int, list[fx.Node]] = defaultdict(list)
    for node in nodes:
        if tensor_of(node) is not None:
            (storage,) = memory[node]
            sharing[storage].append(node)
    root: dict[fx.Node, fx.Node] = {}
    found = False
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
        if tensor is None:
            return True
        renamed = functional_form(str(node.target)) is not None
        found = found or not renamed or not _same_dtype(node, tensor)
        (storage,) = memory[written]
        for other in sharing[storage]:
            if root.get(other, other) is base or order[other] > order[node]:
                continue
            if any(order[user] > order[node] for user in other.users):
                _require_seen(other, written, node)
                found = True
    return found


def _require_seen(other: fx.Node, written: fx.Node, node: fx.Node) -> None:
    """Refuse aliases that decomposition does not see: it takes dropout for a copy."""
    left, right = tensor_of(other), tensor_of(written)
    assert left is not None
    assert right is not None
    if storage_of(left) != storage_of(right):
        raise CaptureError(
            f"in-place operator {str(node.target)!r}",
            rule="it overwrites a tensor that is used again under another name: "
            "dropout in evaluation hands on its input itself",
            where=f"node {node.name!r}",
            remedy="write the operator out of place",
        )


def _same_dtype(node: fx.Node, written: torch.Tensor) -> bool:
    """Whether the functional form keeps the dtype that the in-place form must keep."""
    if not written.dtype.is_floating_point and written.dtype is not torch.bool:
        limit: tuple[type, ...] = (float,)
    else:
        limit = (float, int) if written.dtype is torch.bool else ()
    name = str(node.target).split(".")[1].rstrip("_")
    if name in _PREDICATES and written.dtype is not torch.bool:
        return False
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, fx.Node):
            tensor = tensor_of(value)
            if tensor is None or tensor.dtype != written.dtype:
                return False
        elif type(value) in limit:
            return False
    return True
