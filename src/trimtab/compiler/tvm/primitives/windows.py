"""Primitives that look through windows: convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx

from trimtab.compiler.tvm.primitives.pointwise import converted
from trimtab.compiler.tvm.primitives.sums import NO_PLACE, least, search
from trimtab.compiler.tvm.primitives.value import (
    Indices,
    Kind,
    Scope,
    Value,
    derived,
    primitive,
)

__all__: list[str] = []


@primitive("aten.convolution.default")
def _convolution(
    scope: Scope,
    kind: Kind,
    image: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Of any rank; a transposed one sums over the filter taps that hit an input."""
    del output_padding
    rank = len(kind.shape) - 2
    strides, pads, steps = (
        [each[0]] * rank if len(each) == 1 else list(each)
        for each in (stride, padding, dilation)
    )
    sizes = image.shape[2:]
    # Weights are (out, in / groups, ...), transposed (in, out / groups, ...).
    depth = image.shape[1] // groups if transposed else weight.shape[1]
    width = kind.shape[1] // groups
    c = te.reduce_axis((0, depth), "c")
    taps = [
        te.reduce_axis((0, size), f"k{i}") for i, size in enumerate(weight.shape[2:])
    ]

    def element(n: Any, o: Any, *at: Any) -> Any:
        part = tirx.floordiv(o, width) if groups > 1 else 0
        channel = part * depth + c
        if transposed:
            filtered = [channel, tirx.floormod(o, width) if groups > 1 else o, *taps]
        else:
            filtered = [o, c, *taps]
        places, conditions = [], []
        for axis, (y, k) in enumerate(zip(at, taps, strict=True)):
            if transposed:
                far = y + pads[axis] - k * steps[axis]
                place = tirx.floordiv(far, strides[axis])
                if strides[axis] > 1:
                    conditions.append(tirx.EQ(tirx.floormod(far, strides[axis]), 0))
            else:
                place = y * strides[axis] + k * steps[axis] - pads[axis]
            if transposed or pads[axis]:
                conditions += [place >= 0, place < sizes[axis]]
            places.append(place)
        term = image.at([n, channel, *places])
        if conditions:
            inside = conditions[0]
            for each in conditions[1:]:
                inside = tirx.And(inside, each)
            term = tirx.if_then_else(inside, term, tirx.const(0, image.dtype))
        return te.sum(term * weight.at(filtered), axis=[c, *taps])

    result = scope.value(
        te.compute(kind.shape, element, name=scope.name("convolution"))
    )
    if bias is None:
        return result
    return derived(
        result, at=lambda i: result.at(i) + bias.at([i[1]]), cost=1 + bias.cost
    )


# ------------------------------------------------------------ pools


def _window(
    kind: Kind, image: Value, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[list[Any], Callable[[Indices], tuple[list[Any], Any]], list[list[int]]]:
    """Return a window's axes, where its elements are and whether inside, its sizes.

    Args:
        kind: of the result.
        image: under the window.
        kernel: sizes of the window; one number stands for all, here and below.
        stride: of the window, its size by default.
        padding: around the image.
        dilation: between elements of the window.
    """
    rank = 3 if "3d" in kind.op else 2
    lead = len(kind.shape) - rank
    sizes = image.shape[lead:]
    full = [
        list(each) * rank if len(each) == 1 else list(each)
        for each in (kernel, stride or kernel, padding or [0], dilation or [1])
    ]
    taps = [te.reduce_axis((0, size), f"k{i}") for i, size in enumerate(full[0])]

    def at(indices: Indices) -> tuple[list[Any], Any]:
        places, inside = [], tirx.const(True, "bool")
        for axis in range(rank):
            strides, pads, steps = (each[axis] for each in full[1:])
            place = indices[lead + axis] * strides + taps[axis] * steps - pads
            places.append(place)
            last = (kind.shape[lead + axis] - 1) * strides - pads
            if pads:
                inside = tirx.And(inside, place >= 0)
            if last + (full[0][axis] - 1) * steps >= sizes[axis]:
                inside = tirx.And(inside, place < sizes[axis])
        return [*indices[:lead], *places], inside

    return taps, at, full


def _max_pool(
    scope: Scope,
    kinds: Sequence[Kind],
    image: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilation: Sequence[int] = (),
    ceil_mode: bool = False,
) -> tuple[Value, ...]:
    del ceil_mode  # it shows in the shape
    kind = kinds[0]
    taps, window, _ = _window(kind, image, kernel, stride, padding, dilation)
    sizes = image.shape[len(kind.shape) - len(taps) :]
    find = search(True)

    def element(*indices: Any) -> Any:
        places, inside = window(indices)
        flat: Any = 0
        for size, place in zip(sizes, places[-len(sizes) :], strict=True):
            flat = flat * size + place
        return find(
            (
                tirx.if_then_else(inside, flat, NO_PLACE),
                tirx.if_then_else(inside, image.at(places), least(image.dtype)),
            ),
            axis=taps,
        )

    place, best = te.compute(kind.shape, element, name=scope.name("window"))
    return scope.value(best), converted(scope.value(place), kinds[1].dtype)


primitive("aten.max_pool2d_with_indices.default")(_max_pool)
primitive("aten.max_pool3d_with_indices.default")(_max_pool)


@primitive("aten.avg_pool2d.default", "aten.avg_pool3d.default")
def _average_pool(
    scope: Scope,
    kind: Kind,
    image: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    del ceil_mode
    taps, window, full = _window(kind, image, kernel, stride, padding, ())
    kernel, strides, pads, _ = full
    lead = len(kind.shape) - len(kernel)
    zero = tirx.const(0, image.dtype)

    def element(*indices: Any) -> Any:
        places, inside = window(indices)
        return te.sum(tirx.if_then_else(inside, image.at(places), zero), axis=taps)

    total = scope.value(te.compute(kind.shape, element, name=scope.name("window")))

    def count(indices: Indices) -> Any:
        """Return how many elements a window has, the padding counted or not."""
        found: Any = 1
        for axis, size in enumerate(image.shape[lead:]):
            start = indices[lead + axis] * strides[axis] - pads[axis]
            end = tirx.min(start + kernel[axis], size + pads[axis])
            if not count_include_pad:
                start, end = tirx.max(start, 0), tirx.min(end, size)
            found = found * (end - start)
        return found

    def at(indices: Indices) -> Any:
        by = divisor_override or tirx.Cast(kind.dtype, count(indices))
        return total.at(indices) / by

    return derived(total, at=at, cost=6)
