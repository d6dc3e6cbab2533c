"""Operators outside the vocabulary: taken apart, or kept as they are.

What PyTorch can take apart becomes operators of the vocabulary. What it cannot stays in
the graph as an opaque operator, ``opaque.histc.default``, if it is a pure function of
tensors: PyTorch runs it, and its cost is its traffic, since nobody knows its work. A
graph from a file can still compute but not act, as `why_not` is asked again before an
opaque operator runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch._decomp
from torch._ops import OpOverload, OpOverloadPacket
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from trimtab.graph.operators import OPAQUE, functional_form, is_opaque

__all__ = [
    "all_kept",
    "decompositions",
    "opaque_form",
    "opaque_function",
    "overwrites",
    "why_not",
]

_TAGS = {
    torch.Tag.nondeterministic_seeded: "it draws random numbers",
    torch.Tag.data_dependent_output: "its result is no tensor",
    torch.Tag.dynamic_output_shape: "the shape of its result depends on values",
    torch.Tag.maybe_aliasing_or_mutating: "its result may share memory",
    torch.Tag.inplace_view: "it changes its arguments",
}
_WORDS = {
    "empty": "its result is whatever stood in memory",
    "strided": "it reads memory beyond its tensor",
    "unsafe": "it does not check its arguments",
    "backward": "it does not check its arguments",
    "resize": "its result is whatever stood in memory",
    "sparse": "its result is not dense",
    "mkldnn": "its result is not dense",
    "quantize": "its result is not dense",
}
_NUMBERS = ("int", "float", "bool", "number")
_TYPES = frozenset(
    {"Tensor", "List[Tensor]", "Optional[Tensor]", "List[Optional[Tensor]]"}
    | {"str", "Optional[str]"}
    | set(_NUMBERS)
    | {f"Optional[{each}]" for each in _NUMBERS}
    | {f"List[{each}]" for each in _NUMBERS}
    | {f"Optional[List[{each}]]" for each in _NUMBERS}
)


@functools.cache
def why_not(function: OpOverload) -> str:
    """Return why a graph cannot keep an operator as it is; empty if it can.

    Example:
        >>> why_not(torch.ops.aten.histc.default)
        ''
        >>> why_not(torch.ops.aten.bernoulli.default)
        'it draws random numbers'
    """
    schema = function._schema
    name = schema.name.removeprefix("aten::")
    if not schema.name.startswith("aten::"):
        return "it is none of PyTorch's own"
    if name.startswith("_"):
        return "it is internal"
    if schema.is_mutable:
        return "it changes its arguments"
    for tag, reason in _TAGS.items():
        if tag in function.tags:
            return reason
    for word, reason in _WORDS.items():
        if word in name:
            return reason
    kinds = [str(each.type) for each in schema.arguments]
    for kind in kinds:
        if kind not in _TYPES:
            return f"it takes an argument of type {kind}"
    if not any(kind in ("Tensor", "List[Tensor]") for kind in kinds):
        return "it reads no tensor"
    for result in schema.returns:
        if str(result.type) != "Tensor":
            return "its result is no tensor"
        if result.alias_info is not None:
            return "its result may share memory"
    return "" if schema.returns else "it has no result"


def opaque_form(function: object) -> str | None:
    """Return the name of an operator that is kept as it is, or None if it cannot be.

    Example:
        >>> opaque_form(torch.ops.aten.histc.default)
        'opaque.histc.default'
    """
    if not isinstance(function, OpOverload) or why_not(function):
        return None
    name = function._schema.name.removeprefix("aten::")
    return f"{OPAQUE}{name}.{function._overloadname}"


def opaque_function(op: str) -> OpOverload | None:
    """Return PyTorch's function of an opaque operator; None if it may not be run.

    Args:
        op: a name from a graph, which may come from anywhere.
    """
    if not is_opaque(op):
        return None
    _, name, overload = op.split(".")
    packet = getattr(torch.ops.aten, name, None) if name.isidentifier() else None
    if not isinstance(packet, OpOverloadPacket):
        return None
    if overload not in packet.overloads():  # type: ignore[no-untyped-call]
        return None
    function: OpOverload = getattr(packet, overload)
    return None if why_not(function) else function


def _missing(program: ExportedProgram) -> Iterator[OpOverload]:
    for node in program.graph.nodes:
        target = node.target
        if isinstance(target, OpOverload) and functional_form(str(target)) is None:
            yield target


def overwrites(program: ExportedProgram) -> bool:
    """Whether an operator that is not in the vocabulary changes its arguments."""
    return any(each._schema.is_mutable for each in _missing(program))


def all_kept(program: ExportedProgram) -> bool:
    """Whether every operator is in the vocabulary or can be kept as it is.

    What acts, if only to check a result, is told by a token that goes in and out.
    """
    kinds = {spec.kind for spec in program.graph_signature.input_specs}
    return InputKind.TOKEN not in kinds and not any(map(why_not, _missing(program)))


def decompositions(program: ExportedProgram) -> dict[Any, Callable[..., Any]]:
    """Return how PyTorch takes apart what is not in the vocabulary."""
    wanted = dict.fromkeys(_missing(program))
    if not wanted:
        return {}
    known = _table()
    return {each: known[each] for each in wanted if each in known}


@functools.cache
def _table() -> Mapping[Any, Callable[..., Any]]:
    # What export itself knows, composites among it, and all that anybody registered.
    known = torch.export.default_decompositions().items()  # type: ignore[no-untyped-call]
    return {**torch._decomp.decomposition_table, **dict(known)}
