"""Primitives that give elements other places: views, pieces, padding."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from trimtab.compiler.tvm.primitives.pointwise import converted
from trimtab.compiler.tvm.primitives.value import (
    Indices,
    Kind,
    Scope,
    Value,
    axis_of,
    derived,
    number,
    primitive,
    unflatten,
)

__all__: list[str] = []


def _moved(kind: Kind, value: Value, move: Callable[[Indices], Indices]) -> Value:
    return derived(
        value, shape=kind.shape, at=lambda indices: value.at(move(list(indices)))
    )


@primitive(
    "aten.alias.default", "aten.clone.default", "aten.detach.default",
    "aten.lift_fresh_copy.default", "prims.clone.default", "prims.view_of.default",
)  # fmt: skip
def _same(scope: Scope, kind: Kind, value: Value, *_: Any, **__: Any) -> Value:
    del scope, kind
    return value


@primitive("aten.copy.default", "aten.fill.Tensor")
def _overwritten(
    scope: Scope, kind: Kind, value: Value, source: Value, *_: Any
) -> Value:
    del value
    return _expanded(scope, kind, converted(source, kind.dtype))


@primitive("aten.expand.default")
def _expand(scope: Scope, kind: Kind, value: Value, *_: Any) -> Value:
    return _expanded(scope, kind, value)


def _expanded(scope: Scope, kind: Kind, value: Value) -> Value:
    value = scope.spread(value, math.prod(kind.shape))
    lead = len(kind.shape) - len(value.shape)
    return _moved(
        kind,
        value,
        lambda i: [
            0 if size == 1 else each
            for size, each in zip(value.shape, i[lead:], strict=True)
        ],
    )


@primitive("prims.broadcast_in_dim.default")
def _broadcast(
    scope: Scope, kind: Kind, value: Value, shape: Any, dims: Sequence[int]
) -> Value:
    del shape
    value = scope.spread(value, math.prod(kind.shape))
    return _moved(
        kind,
        value,
        lambda i: [
            0 if size == 1 else i[dim]
            for size, dim in zip(value.shape, dims, strict=True)
        ],
    )


@primitive("prims.transpose.default", "aten.permute.default")
def _permute(scope: Scope, kind: Kind, value: Value, order: Sequence[int]) -> Value:
    del scope
    return _permuted(kind, value, order)


def _permuted(kind: Kind, value: Value, order: Sequence[int]) -> Value:
    axes = [axis_of(each, len(order)) for each in order]
    return _moved(
        kind, value, lambda i: [i[axes.index(each)] for each in range(len(i))]
    )


@primitive("aten.transpose.int")
def _transpose(scope: Scope, kind: Kind, value: Value, a: int, b: int) -> Value:
    order = list(range(len(value.shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return _permuted(kind, value, order)


@primitive(
    "prims.collapse_view.default", "prims.split_dim.default", "prims.squeeze.default",
    "prims.reshape.default",
)  # fmt: skip
def _reshape(scope: Scope, kind: Kind, value: Value, *_: Any) -> Value:
    """Give elements in row-major order another shape.

    Dimensions that stay are left alone, so that their indices stay simple.
    """
    del scope
    old, new = list(value.shape), list(kind.shape)
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    inner_old, inner_new = (each[head : len(each) - tail] for each in (old, new))

    def move(indices: Indices) -> Indices:
        place: Any = 0
        for size, each in zip(inner_new, indices[head:], strict=False):
            place = place * size + each
        return [
            *indices[:head],
            *unflatten(place, inner_old),
            *indices[len(indices) - tail :],
        ]

    return _moved(kind, value, move)


@primitive("aten.as_strided.default")
def _as_strided(
    scope: Scope,
    kind: Kind,
    value: Value,
    shape: Any,
    strides: Sequence[int],
    offset: int | None = None,
) -> Value:
    """Only of values that stand row-major in memory of their own."""
    del scope, shape
    start = offset or 0

    def at(indices: Indices) -> Any:
        place: Any = start
        for each, stride in zip(indices, strides, strict=True):
            place = place + each * stride if stride else place
        return value.flat(place)

    return derived(value, shape=kind.shape, at=at)


@primitive("prims.rev.default")
def _reverse(scope: Scope, kind: Kind, value: Value, dims: Sequence[int]) -> Value:
    del scope
    return _moved(
        kind,
        value,
        lambda i: [
            size - 1 - each if axis in dims else each
            for axis, (size, each) in enumerate(zip(value.shape, i, strict=True))
        ],
    )


def _part(kind: Kind, value: Value, axis: int, start: int, step: int = 1) -> Value:
    return _moved(
        kind,
        value,
        lambda i: [*i[:axis], i[axis] * step + start, *i[axis + 1 :]],
    )


@primitive("aten.slice.Tensor")
def _slice(
    scope: Scope,
    kind: Kind,
    value: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    del scope
    axis = axis_of(dim, len(value.shape))
    first = slice(start, end, step).indices(value.shape[axis])[0]
    return _part(kind, value, axis, first, step)


@primitive("aten.select.int")
def _select(scope: Scope, kind: Kind, value: Value, dim: int, index: int) -> Value:
    del scope
    axis = axis_of(dim, len(value.shape))
    place = axis_of(index, value.shape[axis])
    return _moved(kind, value, lambda i: [*i[:axis], place, *i[axis:]])


@primitive("aten.split.Tensor", "aten.split_with_sizes.default")
def _split(
    scope: Scope, kinds: Sequence[Kind], value: Value, sizes: Any, dim: int = 0
) -> tuple[Value, ...]:
    del scope, sizes
    axis = axis_of(dim, len(value.shape))
    starts = itertools.accumulate((each.shape[axis] for each in kinds), initial=0)
    return tuple(
        _part(kind, value, axis, start)
        for kind, start in zip(kinds, starts, strict=False)
    )


@primitive("aten.unbind.int")
def _unbind(
    scope: Scope, kinds: Sequence[Kind], value: Value, dim: int = 0
) -> tuple[Value, ...]:
    return tuple(
        _select(scope, kind, value, dim, index) for index, kind in enumerate(kinds)
    )


@primitive("aten.diagonal.default")
def _diagonal(
    scope: Scope,
    kind: Kind,
    value: Value,
    offset: int = 0,
    dim1: int = 0,
    dim2: int = 1,
) -> Value:
    del scope
    rank = len(value.shape)
    rows, columns = axis_of(dim1, rank), axis_of(dim2, rank)

    def move(indices: Indices) -> Indices:
        rest, along = iter(indices[:-1]), indices[-1]
        return [
            along + max(-offset, 0)
            if axis == rows
            else along + max(offset, 0)
            if axis == columns
            else next(rest)
            for axis in range(rank)
        ]

    return _moved(kind, value, move)


@primitive("aten.unfold.default")
def _unfold(
    scope: Scope, kind: Kind, value: Value, dim: int, size: int, step: int
) -> Value:
    del scope, size
    axis = axis_of(dim, len(value.shape))
    return _moved(
        kind,
        value,
        lambda i: [*i[:axis], i[axis] * step + i[-1], *i[axis + 1 : -1]],
    )


# ------------------------------------------------------------ pieces


def _inside(conditions: Sequence[Any]) -> Any:
    return functools.reduce(tirx.And, conditions)


@primitive("aten.cat.default", "prims.cat.default")
def _cat(scope: Scope, kind: Kind, values: Sequence[Value], dim: int = 0) -> Value:
    del scope
    axis = axis_of(dim, len(kind.shape))
    # An empty tensor of one dimension may stand among others.
    pieces = [each for each in values if each.elements]
    starts = list(itertools.accumulate((p.shape[axis] for p in pieces), initial=0))

    def at(indices: Indices) -> Any:
        found = None
        for piece, start in zip(reversed(pieces), reversed(starts[:-1]), strict=True):
            moved = [*indices]
            moved[axis] = indices[axis] - start
            here = piece.at(moved)
            if piece.dtype != kind.dtype:
                here = tirx.Cast(kind.dtype, here)
            found = (
                here
                if found is None
                else tirx.if_then_else(
                    indices[axis] < start + piece.shape[axis], here, found
                )
            )
        return found

    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=at,
        cost=sum(piece.cost + 1 for piece in pieces),
    )


@primitive("aten.constant_pad_nd.default")
def _pad(
    scope: Scope, kind: Kind, value: Value, pad: Sequence[int], fill: float = 0
) -> Value:
    del scope
    rank = len(value.shape)
    before = [0] * rank
    for place in range(len(pad) // 2):
        before[rank - 1 - place] = pad[2 * place]

    def at(indices: Indices) -> Any:
        places, conditions = [], []
        for axis, index in enumerate(indices):
            size, wide = value.shape[axis], kind.shape[axis]
            place = index - before[axis] if before[axis] else index
            places.append(place)
            if before[axis] > 0:
                conditions.append(place >= 0)
            if wide - before[axis] > size:
                conditions.append(place < size)
        if not conditions:
            return value.at(places)
        return tirx.if_then_else(
            _inside(conditions), value.at(places), number(fill, kind.dtype)
        )

    return Value(shape=kind.shape, dtype=kind.dtype, at=at, cost=value.cost + 2)


@primitive("aten.slice_scatter.default")
def _slice_scatter(
    scope: Scope,
    kind: Kind,
    value: Value,
    source: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    del scope
    axis = axis_of(dim, len(value.shape))
    first, _, _ = slice(start, end, step).indices(value.shape[axis])
    count = source.shape[axis]

    def at(indices: Indices) -> Any:
        place = indices[axis] - first
        moved = [*indices]
        moved[axis] = tirx.floordiv(place, step)
        conditions = [place >= 0, place < count * step]
        if step > 1:
            conditions.append(tirx.EQ(tirx.floormod(place, step), 0))
        return tirx.if_then_else(
            _inside(conditions), source.at(moved), value.at(indices)
        )

    return Value(
        shape=kind.shape, dtype=kind.dtype, at=at, cost=value.cost + source.cost + 3
    )


@primitive("aten.select_scatter.default")
def _select_scatter(
    scope: Scope, kind: Kind, value: Value, source: Value, dim: int, index: int
) -> Value:
    del scope
    axis = axis_of(dim, len(value.shape))
    place = axis_of(index, value.shape[axis])
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=lambda i: tirx.if_then_else(
            tirx.EQ(i[axis], place), source.at([*i[:axis], *i[axis + 1 :]]), value.at(i)
        ),
        cost=value.cost + source.cost + 1,
    )
