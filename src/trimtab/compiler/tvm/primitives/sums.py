"""Primitives that make one element of many: sums, extremes, matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from trimtab.compiler.tvm.primitives.pointwise import converted, larger, smaller
from trimtab.compiler.tvm.primitives.value import (
    Indices,
    Kind,
    Scope,
    Value,
    derived,
    primitive,
)

__all__ = ["NO_PLACE", "least", "search"]

NO_PLACE = 2**31 - 1  # of the identity of a search, behind every other


def least(dtype: str) -> Any:
    """Return what no element is below."""
    if dtype == "bool":
        return tirx.const(False, "bool")
    if dtype.startswith("float"):
        return tirx.const(-math.inf, dtype)
    return tirx.min_value(dtype)


def _greatest(dtype: str) -> Any:
    if dtype == "bool":
        return tirx.const(True, "bool")
    if dtype.startswith("float"):
        return tirx.const(math.inf, dtype)
    return tirx.max_value(dtype)


_MAXIMUM = te.comm_reducer(larger, least, "maximum")
_MINIMUM = te.comm_reducer(smaller, _greatest, "minimum")
_PRODUCT = te.comm_reducer(
    lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), "product"
)


def _reduced(
    scope: Scope,
    value: Value,
    dims: Sequence[int],
    reducer: Any,
    *,
    dtype: str = "",
    word: str = "reduced",
) -> Value:
    """Return a value reduced along some dimensions, which are then gone."""
    axes = [te.reduce_axis((0, value.shape[dim]), f"r{dim}") for dim in dims]
    shape = [size for dim, size in enumerate(value.shape) if dim not in dims]

    def element(*indices: Any) -> Any:
        rest = iter(indices)
        places = [
            axes[list(dims).index(dim)] if dim in dims else next(rest)
            for dim in range(len(value.shape))
        ]
        here = value.at(places)
        if dtype and dtype != value.dtype:
            here = tirx.Cast(dtype, here)
        return reducer(here, axis=axes) if axes else here

    return scope.value(te.compute(shape, element, name=scope.name(word)))


def _wide(dtype: str) -> str:
    """Return the dtype to add in.

    A sum of thousands of float32 one by one loses digits that PyTorch's trees keep.
    """
    return "float64" if dtype == "float32" else dtype


def _total(scope: Scope, value: Value, dims: Sequence[int], dtype: str) -> Value:
    return _reduced(scope, value, dims, te.sum, dtype=_wide(dtype), word="sum")


@primitive("prims.sum.default")
def _sum(scope: Scope, kind: Kind, value: Value, dims: Any, **_: Any) -> Value:
    return converted(_total(scope, value, dims, kind.dtype), kind.dtype)


@primitive("prims.prod.default")
def _product(scope: Scope, kind: Kind, value: Value, dims: Any, **_: Any) -> Value:
    wide = _wide(kind.dtype)
    return converted(_reduced(scope, value, dims, _PRODUCT, dtype=wide), kind.dtype)


@primitive("prims.var.default")
def _variance(
    scope: Scope, kind: Kind, value: Value, dims: Any, correction: float = 1, **_: Any
) -> Value:
    wide = _wide(kind.dtype)
    axes = list(range(len(value.shape))) if dims is None else list(dims)
    count = math.prod(value.shape[axis] for axis in axes)
    if count - correction <= 0:
        raise NotImplementedError("a variance of too few elements")
    mean = _total(scope, value, axes, kind.dtype)

    def square(indices: Indices) -> Any:
        place = [each for axis, each in enumerate(indices) if axis not in axes]
        apart = tirx.Cast(wide, value.at(indices)) - mean.at(place) / float(count)
        return apart * apart

    squares = derived(value, dtype=wide, at=square, cost=value.cost + 4, given=None)
    found = _total(scope, squares, axes, wide)
    scaled = derived(
        found, at=lambda i: found.at(i) / float(count - correction), cost=4
    )
    return converted(scaled, kind.dtype)


@primitive("prims.amax.default")
def _amax(scope: Scope, kind: Kind, value: Value, dims: Any, **_: Any) -> Value:
    del kind
    return _reduced(scope, value, dims, _MAXIMUM, word="maximum")


@primitive("prims.amin.default")
def _amin(scope: Scope, kind: Kind, value: Value, dims: Any, **_: Any) -> Value:
    del kind
    return _reduced(scope, value, dims, _MINIMUM, word="minimum")


@primitive("aten.max.default")
def _maximum(scope: Scope, kind: Kind, value: Value) -> Value:
    return _amax(scope, kind, value, range(len(value.shape)))


@primitive("aten.min.default")
def _minimum(scope: Scope, kind: Kind, value: Value) -> Value:
    return _amin(scope, kind, value, range(len(value.shape)))


# ------------------------------------------------------------ places of extremes


def search(largest: bool) -> Any:
    """Return a reducer of places and values: NaN before all, then the first.

    Elements come in order, so that of two NaN the earlier one stays.
    """

    def combine(a: Any, b: Any) -> Any:
        better = tirx.Or(
            b[1] > a[1] if largest else b[1] < a[1],
            tirx.And(tirx.EQ(a[1], b[1]), b[0] < a[0]),
        )
        if str(a[1].ty.dtype).startswith("float"):
            first = tirx.And(tirx.isnan(b[1]), tirx.Not(tirx.isnan(a[1])))
            better = tirx.Or(better, first)
        return tirx.Select(better, b[0], a[0]), tirx.Select(better, b[1], a[1])

    def identity(place: str, value: str) -> Any:
        worst = least(value) if largest else _greatest(value)
        return tirx.const(NO_PLACE, place), worst

    return te.comm_reducer(combine, identity, "search")


def _found(scope: Scope, value: Value, dim: int, largest: bool) -> tuple[Value, Value]:
    """Return the extremes along a dimension and where they are."""
    if value.dtype == "bool":
        value = converted(value, "int8")
    along = te.reduce_axis((0, value.shape[dim]), "along")
    shape = [size for axis, size in enumerate(value.shape) if axis != dim]
    find = search(largest)

    def element(*indices: Any) -> Any:
        places = [*indices[:dim], along, *indices[dim:]]
        return find((along.var, value.at(places)), axis=along)

    place, best = te.compute(shape, element, name=scope.name("search"))
    return scope.value(best), scope.value(place)


def _shaped(kind: Kind, value: Value, dim: int) -> Value:
    """Return a reduced value with its dimension of size one, if it keeps that."""
    value = converted(value, kind.dtype)
    if len(kind.shape) == len(value.shape):
        return value
    return derived(
        value, shape=kind.shape, at=lambda i: value.at([*i[:dim], *i[dim + 1 :]])
    )


def _extremes(largest: bool) -> Callable[..., tuple[Value, ...]]:
    def apply(
        scope: Scope,
        kinds: Sequence[Kind],
        value: Value,
        dim: int,
        keepdim: bool = False,
    ) -> tuple[Value, ...]:
        del keepdim
        axis = dim % len(value.shape) if value.shape else 0
        if not value.shape:
            raise NotImplementedError("the extreme of a number")
        pair = _found(scope, value, axis, largest)
        return tuple(
            _shaped(kind, each, axis) for kind, each in zip(kinds, pair, strict=True)
        )

    return apply


primitive("aten.max.dim")(_extremes(True))
primitive("aten.min.dim")(_extremes(False))


def _place_of(largest: bool) -> Callable[..., Value]:
    def apply(
        scope: Scope,
        kind: Kind,
        value: Value,
        dim: int | None = None,
        keepdim: bool = False,
    ) -> Value:
        del keepdim
        if dim is not None and value.shape:
            axis = dim % len(value.shape)
            return _shaped(kind, _found(scope, value, axis, largest)[1], axis)
        whole = derived(
            value, shape=(value.elements,), at=lambda i: value.flat(i[0]), given=None
        )
        place = converted(_found(scope, whole, 0, largest)[1], kind.dtype)
        return derived(place, shape=kind.shape, at=lambda i: place.at([]))

    return apply


primitive("aten.argmax.default")(_place_of(True))
primitive("aten.argmin.default")(_place_of(False))


# ------------------------------------------------------------ products


def _accumulated(
    scope: Scope, kind: Kind, shape: Sequence[int], depth: int, term: Callable[..., Any]
) -> Value:
    if kind.dtype == "bool":
        raise NotImplementedError("a product of truth values")
    along = te.reduce_axis((0, depth), "k")
    return scope.value(
        te.compute(
            list(shape),
            lambda *i: te.sum(term(i, along), axis=along),
            name=scope.name("product"),
        )
    )


@primitive("aten.mm.default")
def _mm(scope: Scope, kind: Kind, a: Value, b: Value) -> Value:
    return _accumulated(
        scope, kind, kind.shape, a.shape[1],
        lambda i, k: a.at([i[0], k]) * b.at([k, i[1]]),
    )  # fmt: skip


@primitive("aten.bmm.default")
def _bmm(scope: Scope, kind: Kind, a: Value, b: Value) -> Value:
    return _accumulated(
        scope, kind, kind.shape, a.shape[2],
        lambda i, k: a.at([i[0], i[1], k]) * b.at([i[0], k, i[2]]),
    )  # fmt: skip
