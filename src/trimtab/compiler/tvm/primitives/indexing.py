"""Elements at places that are data, and running sums, among PyTorch's primitives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from trimtab.compiler.tvm.primitives.pointwise import converted
from trimtab.compiler.tvm.primitives.value import (
    Check,
    Indices,
    Kind,
    Scope,
    Value,
    derived,
    primitive,
)

__all__: list[str] = []


def _place(scope: Scope, places: Value, size: int, *, wraps: bool) -> Value:
    """Return places as int32, each within ``0 <= place < size`` whatever is given.

    Args:
        scope: notes what the kernel has to refuse.
        places: integers.
        size: of the dimension they address.
        wraps: whether -1 is the last.
    """
    if not places.dtype.startswith(("int", "uint")):
        raise NotImplementedError(
            f"places of {places.dtype}: their number is not known"
        )
    if size == 0:
        raise NotImplementedError("places in an empty dimension")
    if places.given is not None:
        low = -size if wraps else 0
        scope.checks.append(Check(places.given, low, size))

    def at(indices: Indices) -> Any:
        place = tirx.Cast("int64", places.at(indices))
        if wraps:
            place = tirx.Select(place < 0, place + size, place)
        return tirx.Cast("int32", tirx.max(tirx.min(place, size - 1), 0))

    return derived(places, dtype="int32", at=at, cost=places.cost + 4, given=None)


def _spread(value: Value, shape: Sequence[int], indices: Indices) -> Any:
    """Return an element of a value that is broadcast to a shape."""
    lead = len(shape) - len(value.shape)
    return value.at(
        [
            0 if size == 1 else each
            for size, each in zip(value.shape, indices[lead:], strict=True)
        ]
    )


def _common(places: Sequence[Value]) -> tuple[int, ...]:
    """Return the shape to which places are broadcast."""
    rank = max(len(each.shape) for each in places)
    found = [1] * rank
    for each in places:
        for axis, size in enumerate(each.shape, rank - len(each.shape)):
            found[axis] = max(found[axis], size) if size else 0
    return tuple(found)


def _layout(
    value: Value, places: Sequence[Value | None]
) -> tuple[list[int], int, tuple[int, ...]]:
    """Return the indexed dimensions, where they go in the result, and their shape.

    Neighbours are replaced where they stand, others go to the front.
    """
    axes = [axis for axis, each in enumerate(places) if each is not None]
    if not axes:
        raise NotImplementedError("no places are given")
    apart = axes[-1] - axes[0] + 1 != len(axes)
    return axes, 0 if apart else axes[0], _common([each for each in places if each])


@primitive("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index(
    scope: Scope, kind: Kind, value: Value, places: Sequence[Value | None]
) -> Value:
    axes, start, shape = _layout(value, places)
    safe = {
        axis: scope.spread(
            _place(scope, each, value.shape[axis], wraps=True), math.prod(kind.shape)
        )
        for axis, each in enumerate(places)
        if each is not None
    }

    def at(indices: Indices) -> Any:
        mine = indices[start : start + len(shape)]
        rest = iter([*indices[:start], *indices[start + len(shape) :]])
        return value.at(
            [
                _spread(safe[axis], shape, mine) if axis in safe else next(rest)
                for axis in range(len(value.shape))
            ]
        )

    del axes
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=at,
        cost=value.cost + sum(each.cost for each in safe.values()),
    )


@primitive("aten.index_select.default")
def _index_select(
    scope: Scope, kind: Kind, value: Value, dim: int, places: Value
) -> Value:
    axis = dim % len(value.shape)
    if not places.shape:
        places = derived(places, shape=(1,), at=lambda _: places.at([]))
    safe = _place(scope, places, value.shape[axis], wraps=False)
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=lambda i: value.at([*i[:axis], safe.at([i[axis]]), *i[axis + 1 :]]),
        cost=value.cost + safe.cost,
    )


@primitive("aten.gather.default")
def _gather(
    scope: Scope, kind: Kind, value: Value, dim: int, places: Value, **_: Any
) -> Value:
    if not value.shape:
        raise NotImplementedError("places in a number")
    axis = dim % len(value.shape)
    safe = _place(scope, places, value.shape[axis], wraps=False)
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=lambda i: value.at([*i[:axis], safe.at(i), *i[axis + 1 :]]),
        cost=value.cost + safe.cost,
    )


# ------------------------------------------------------------ one after another


def _loops(sizes: Sequence[int], body: Callable[[list[Any]], Any]) -> Any:
    counters = [tirx.Var(f"i{axis}", "int32") for axis in range(len(sizes))]
    statement = body(list(counters))
    for counter, size in zip(reversed(counters), reversed(sizes), strict=True):
        statement = tirx.For(counter, 0, size, tirx.ForKind.SERIAL, statement)
    return statement


def _written(
    tensors: Sequence[Any], shape: Sequence[int], dtype: str, body: Any, name: str
) -> Any:
    """Return a tensor that loops of ours write, given the buffers they read."""
    return te.extern(
        [list(shape)],
        list(tensors),
        body,
        name=name,
        dtype=dtype,
        # TVM's own would stand at a place in memory that the caller tells.
        in_buffers=[
            tirx.decl_buffer(each.shape, each.dtype, each.op.name) for each in tensors
        ],
        out_buffers=[tirx.decl_buffer(list(shape), dtype, name)],
    )


def _scattered(
    scope: Scope,
    value: Value,
    sizes: Sequence[int],
    sources: Sequence[Value],
    target: Callable[[Indices, Callable[[int, Indices], Any]], Indices],
    *,
    adds: bool,
) -> Value:
    """Return a value with elements overwritten, or added to, in order.

    Args:
        scope: of the operator.
        value: before.
        sizes: of the loops over what is written.
        sources: what is written, then the places it goes to.
        target: indices of the value for those of the loops, given a way to read the
            sources.
        adds: whether to add.
    """
    tensors = [scope.tensor(each) for each in (value, *sources)]

    def body(given: Sequence[Any], made: Sequence[Any]) -> Any:
        result = made[0]

        def read(which: int, indices: Indices) -> Any:
            return tirx.BufferLoad(given[which + 1], list(indices))

        def write(indices: list[Any]) -> Any:
            place = list(target(indices, read))
            new = read(0, indices)
            if adds:
                new = tirx.BufferLoad(result, place) + new
            return tirx.BufferStore(result, new, place)

        copied = _loops(
            value.shape,
            lambda i: tirx.BufferStore(result, tirx.BufferLoad(given[0], i), i),
        )
        return tirx.SeqStmt([copied, _loops(sizes, write)])

    if not value.shape:
        raise NotImplementedError("places in a number")
    made = _written(tensors, value.shape, value.dtype, body, scope.name("scattered"))
    return scope.value(made)


def _scatter(adds: bool) -> Callable[..., Value]:
    def apply(
        scope: Scope, kind: Kind, value: Value, dim: int, places: Value, source: Any
    ) -> Value:
        del kind
        axis = dim % max(len(value.shape), 1)
        safe = _place(
            scope, places, value.shape[axis] if value.shape else 1, wraps=False
        )
        if not isinstance(source, Value):
            number = source
            source = Value(
                shape=places.shape,
                dtype=value.dtype,
                at=lambda _: tirx.const(number, value.dtype),
            )
        return _scattered(
            scope,
            value,
            places.shape,
            [source, safe],
            lambda i, read: [*i[:axis], read(1, i), *i[axis + 1 :]],
            adds=adds,
        )

    return apply


primitive("aten.scatter.src", "aten.scatter.value")(_scatter(False))
primitive("aten.scatter_add.default")(_scatter(True))


@primitive("aten.index_put.default", "aten._unsafe_index_put.default")
def _index_put(
    scope: Scope,
    kind: Kind,
    value: Value,
    places: Sequence[Value | None],
    source: Value,
    accumulate: bool = False,
) -> Value:
    del kind
    axes, start, shape = _layout(value, places)
    rest = [size for axis, size in enumerate(value.shape) if axis not in axes]
    sizes = [*rest[:start], *shape, *rest[start:]]
    safe = [
        _place(scope, each, value.shape[axis], wraps=True)
        for axis, each in enumerate(places)
        if each is not None
    ]
    wide = Value(
        shape=tuple(sizes), dtype=value.dtype, at=lambda i: _spread(source, sizes, i)
    )

    def target(indices: Indices, read: Callable[[int, Indices], Any]) -> Indices:
        mine = indices[start : start + len(shape)]
        others = iter([*indices[:start], *indices[start + len(shape) :]])
        found = []
        for axis in range(len(value.shape)):
            if axis not in axes:
                found.append(next(others))
                continue
            which = axes.index(axis)
            reading = derived(safe[which], at=lambda i, which=which: read(which + 1, i))
            found.append(_spread(reading, shape, mine))
        return found

    return _scattered(scope, value, sizes, [wide, *safe], target, adds=accumulate)


@primitive("aten.cumsum.default")
def _running_sum(
    scope: Scope, kind: Kind, value: Value, dim: int, *, dtype: Any = None
) -> Value:
    del dtype
    if not value.shape:
        return value
    axis = dim % len(value.shape)
    wide = "float64" if kind.dtype == "float32" else kind.dtype
    tensor = scope.tensor(converted(value, kind.dtype))
    length = value.shape[axis]
    others = [size for each, size in enumerate(value.shape) if each != axis]

    def body(given: Sequence[Any], made: Sequence[Any]) -> Any:
        def line(indices: list[Any]) -> Any:
            total = tirx.decl_buffer([1], wide, "total")
            along = tirx.Var("along", "int32")
            place = [*indices[:axis], along, *indices[axis:]]
            now = tirx.BufferLoad(total, [0])
            here = tirx.Cast(wide, tirx.BufferLoad(given[0], place))
            return tirx.SeqStmt(
                [
                    tirx.AllocBuffer(total),
                    tirx.BufferStore(total, tirx.const(0, wide), [0]),
                    tirx.For(
                        along, 0, length, tirx.ForKind.SERIAL,
                        tirx.SeqStmt(
                            [
                                tirx.BufferStore(total, now + here, [0]),
                                tirx.BufferStore(
                                    made[0], tirx.Cast(kind.dtype, now), place
                                ),
                            ]
                        ),
                    ),
                ]
            )  # fmt: skip

        return _loops(others, line)

    made = _written([tensor], kind.shape, kind.dtype, body, scope.name("running"))
    return scope.value(made)
