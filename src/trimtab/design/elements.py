"""Fields of operators that combine or move elements: sums, products, shapes, slices.

What moves elements about (reshape, permute, slice, shuffle, concatenation) moves their
labels by PyTorch's own operator; what combines elements unites what they see. So
channel shuffles, windows of attention and joined branches need no rule of their own.
What a statistic or a gate sees (normalisation over the image, squeeze and excitation)
is not added to the field; the value is marked `gated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from trimtab.design.channels import Rows
from trimtab.design.field import (
    Context,
    Field,
    broadcast,
    together,
    united_over,
    without,
)
from trimtab.design.labels import Placed, axis_of, packed, stacked
from trimtab.errors import ExecutionError
from trimtab.frozen import FrozenDict
from trimtab.graph.execute import run_node
from trimtab.graph.types import Node

__all__ = [
    "along_dimension", "attention", "is_nothing", "joined", "moved", "normalised",
    "product", "reduced",
]  # fmt: skip


def is_nothing(node: Node) -> bool:
    """Whether a node multiplies by zero: through it nothing is seen.

    Search spaces leave a path out that way.
    """
    return _multiplies(node.op) and 0 in (
        each for each in node.arguments.values() if isinstance(each, int | float)
    )


def joined(context: Context, node: Node) -> Field | None:
    """Elements of several values, one by one."""
    reads = context.reads(node)
    shape = node.output.shape
    if is_nothing(node):
        return None
    if len(reads) == 1:
        return broadcast(reads[0], shape)
    if _multiplies(node.op):
        kept = _gated(reads)
        if kept is not None:
            return replace(broadcast(kept, shape), gated=True)
    wide = [broadcast(each, shape) for each in reads]
    rows = [each.channels.table for each in wide]
    merged = context.entries.merge([each for each in rows if isinstance(each, Rows)])
    wide = [
        replace(each, channels=Placed(each.channels.labels, table))
        for each, table in zip(wide, merged, strict=True)
    ]
    jumps = {
        tuple(axis_of(placed).jump for placed in each.axes if placed.along())
        for each in wide
    }
    if len(jumps) > 1:
        context.misaligned.append(node.name)
    field = wide[0]
    for other in wide[1:]:
        field = together(field, other, shape)
    return field


def moved(context: Context, node: Node) -> list[Field | None] | Field:
    """Elements move: so do their labels, by the operator itself."""
    reads = [ref for ref in node.inputs if ref in context.values]
    fields = [context.values[ref] for ref in reads]
    if (
        len(reads) == 1
        and node.outputs[0] is not None
        and (node.output.shape == fields[0].shape and node.op in _IDENTITIES)
    ):
        return fields[0]
    parts = len(fields[0].axes) + 1
    results: list[list[Placed]] = [[] for _ in node.outputs]
    for part in range(parts):
        placed = [_part(each, part) for each in fields]
        tables, offsets = stacked([each.table for each in placed])
        values = dict(context.known)
        for ref, field, each, offset in zip(
            reads, fields, placed, offsets, strict=True
        ):
            labels = torch.from_numpy(each.labels + offset).expand(field.shape)
            # A view of what is expanded is none that PyTorch could give.
            expanded = node.op not in _RESHAPING
            values[ref] = labels if expanded else labels.contiguous()
        for ref in node.inputs:
            if ref in values:
                continue
            kind = context.graph.type_of(ref)
            if not kind.dtype.startswith(("float", "bfloat")):
                return context.everything(node)  # places that nobody told
            # Something that is not of the image: its elements see nothing.
            values[ref] = torch.full(kind.shape, -1, dtype=torch.int64)
        try:
            with torch.no_grad():
                outputs = run_node(_padded_with_nothing(node), values)
        except ExecutionError:
            return context.everything(node)  # it takes no integers
        for index, result in enumerate(outputs[: len(results)]):
            if isinstance(result, torch.Tensor):
                results[index].append(packed(result, tables))
    gated = any(each.gated for each in fields)
    return [
        Field(
            shape=kind.shape,
            axes=tuple(found[:-1]),
            channels=found[-1],
            gated=gated,
        )
        if kind is not None and len(found) == parts
        else None
        for kind, found in zip(node.outputs, results, strict=True)
    ]


def reduced(context: Context, node: Node) -> list[Field | None]:
    """Sums and the like over dimensions."""
    field = context.reads(node)[0]
    dims = _dims(node, len(field.shape))
    whole = united_over([field], dims)
    return [
        None if kind is None else without(whole, kind.shape, dims)
        for kind in node.outputs
    ]


def along_dimension(context: Context, node: Node) -> list[Field | None]:
    """Every element of a dimension sees all of it: softmax, running sums."""
    field = context.reads(node)[0]
    dims = _dims(node, len(field.shape))
    whole = united_over([field], dims)
    return [
        None if kind is None else broadcast(whole, kind.shape) for kind in node.outputs
    ]


def normalised(context: Context, node: Node) -> list[Field | None]:
    """Statistics scale: they are noted, as gates are."""
    field = context.reads(node)[0]
    fixed = "batch_norm" in node.op
    return [
        replace(field, gated=field.gated or not fixed)
        if kind is not None and kind.shape == field.shape
        else None
        for kind in node.outputs
    ]


def product(context: Context, node: Node) -> Field | list[Field | None]:
    """X @ w: the last dimension is mixed; of two values also the one before."""
    reads = [ref for ref in node.inputs if ref in context.values]
    fields = [context.values[ref] for ref in reads]
    shape = node.output.shape
    if (
        node.op
        in (
            "aten.linear.default",
            "aten.addmm.default",
            "aten.mm.default",
            "aten.matmul.default",
            "aten.mv.default",
        )
        and len(fields) == 1
    ):
        names = [key for key, value in node.arguments.items() if value == reads[0]]
        second = names[0] in ("mat2", "other", "vec")
        if not second and len(fields[0].shape) == len(shape):
            mixed = united_over(fields, [-1])
            return broadcast(mixed, shape)
    if node.op in ("aten.bmm.default", "aten.matmul.default") and len(fields) == 2:
        first = united_over([fields[0]], [-1])
        second_field = united_over([fields[1]], [-2])
        if len(first.shape) == len(second_field.shape) == len(shape):
            wide = [broadcast(each, shape) for each in (first, second_field)]
            return together(wide[0], wide[1], shape)
    return context.everything(node)


def attention(context: Context, node: Node) -> list[Field | None]:
    """Each output sees all keys and values beside it, and all queries."""
    reads = context.reads(node)
    whole = united_over(reads, [-2, -1])
    return [
        None if kind is None else broadcast(whole, kind.shape) for kind in node.outputs
    ]


def _gated(reads: Sequence[Field]) -> Field | None:
    """Return the value that others only scale, None where there is none."""
    places = [bool(each.spatial) for each in reads]
    if sum(places) != 1:
        return None
    others = [each for each, has in zip(reads, places, strict=True) if not has]
    whole = all(
        each.axis(number).is_whole
        for each in others
        for number in range(len(each.axes))
    )
    return reads[places.index(True)] if whole else None


def _multiplies(op: str) -> bool:
    return op.split(".")[1] in ("mul", "div")


def _dims(node: Node, rank: int) -> tuple[int, ...]:
    given = node.arguments.get("dim")
    numbers = given if isinstance(given, tuple) else (given,)
    found = tuple(
        each % rank
        for each in numbers
        if isinstance(each, int) and not isinstance(each, bool)
    )
    return found or tuple(range(rank))


def _part(field: Field, number: int) -> Placed:
    """Return an axis, or behind them the channels."""
    return field.axes[number] if number < len(field.axes) else field.channels


def _padded_with_nothing(node: Node) -> Node:
    """Return the node with the number it pads or fills with a label of nothing."""
    arguments = dict(node.arguments)
    if "pad" in node.op and "value" in arguments:
        return replace(node, arguments=FrozenDict({**arguments, "value": -1}))
    return node


_IDENTITIES = {
    "aten.clone.default", "aten.contiguous.default", "aten.to.dtype",
    "aten.to.device", "aten.to.dtype_layout", "aten._to_copy.default",
    "aten.detach.default", "aten.alias.default", "aten.dropout.default",
    "aten.feature_dropout.default", "aten.alpha_dropout.default",
    "aten.type_as.default", "aten.to.other", "aten.lift_fresh_copy.default",
}  # fmt: skip
_RESHAPING = {
    "aten.view.default", "aten.view_as.default", "aten.unflatten.int",
    "aten._unsafe_view.default",
}  # fmt: skip
