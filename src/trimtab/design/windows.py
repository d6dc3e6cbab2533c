"""Fields of windows: convolutions of every kind, pools, resampling, padding."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from trimtab.design.axis import Axis
from trimtab.design.channels import Rows
from trimtab.design.elements import moved
from trimtab.design.field import Context, Field
from trimtab.design.labels import (
    Labels,
    Placed,
    along,
    axis_of,
    by_lines,
    dim_of,
    narrowed,
    stacked,
    united_along,
)
from trimtab.graph.types import Node, Ref

__all__ = ["convolved", "padded", "pooled", "resampled"]


def convolved(context: Context, node: Node) -> Field | list[Field | None]:
    """Return what a convolution's outputs see, transposed or not, in any groups."""
    given = node.arguments["input"]
    assert isinstance(given, Ref)
    field = context.values[given]
    weight = node.arguments["weight"]
    assert isinstance(weight, Ref)
    shape = context.graph.type_of(weight).shape
    rank = len(shape) - 2
    transposed = "transpose" in node.op or bool(node.arguments.get("transposed"))
    kernel = shape[2:]
    stride = _each(node, "stride", rank, 1)
    dilation = _each(node, "dilation", rank, 1)
    before = _before(node, kernel, dilation)
    groups = _groups(context, node, field)
    axes = _windowed(
        _grouped(field, groups, node.output.shape[1]), node.output.shape, kernel,
        stride, before, dilation, transposed=transposed,
    )  # fmt: skip
    channels = _mixed(node, field, groups)
    if axes is None or channels is None:
        return context.everything(node)
    return Field(
        shape=node.output.shape, axes=axes, channels=channels, gated=field.gated
    )


def pooled(context: Context, node: Node) -> Field | list[Field | None]:
    """Return what the windows of a pool see."""
    field = context.reads(node)[0]
    rank = int(node.op.split("pool")[1][0])
    shape = node.output.shape
    if "adaptive" in node.op:
        axes = _adaptive(field, shape, rank)
    else:
        kernel = _each(node, "kernel_size", rank, 1)
        given = node.arguments.get("stride")
        stride = _each(node, "stride", rank, 1) if given not in (None, ()) else kernel
        axes = _windowed(
            field, shape, kernel, stride, _each(node, "padding", rank, 0),
            _each(node, "dilation", rank, 1), weights=False,
        )  # fmt: skip
    if axes is None:
        return context.everything(node)
    found = replace(field, shape=shape, axes=axes)
    return [found] * len(node.outputs)


def _windowed(
    field: Field,
    shape: tuple[int, ...],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    dilation: Sequence[int],
    *,
    transposed: bool = False,
    weights: bool = True,
) -> tuple[Placed, ...] | None:
    """Return the axes after windows over the last dimensions; None: they cannot be."""
    first = len(shape) - len(kernel)
    found = []
    for index, placed in enumerate(field.axes):
        dim = dim_of(placed, index, len(field.axes), first, len(shape))
        if dim is None:
            return None
        number = dim - first
        if number < 0:
            found.append(placed)
            continue

        def made(axis: Axis, number: int = number) -> Axis:
            window = (
                axis.spread
                if transposed
                else functools.partial(axis.window, weights=weights)
            )
            return window(
                shape[first + number],
                kernel=kernel[number],
                stride=stride[number],
                before=before[number],
                dilation=dilation[number],
            )

        found.append(by_lines(placed, dim, field.shape, made))
    return tuple(found)


def _adaptive(
    field: Field, shape: tuple[int, ...], rank: int
) -> tuple[Placed, ...] | None:
    """Return the axes after windows that give a size, None if they cannot be."""
    first = len(shape) - rank
    found = []
    for index, placed in enumerate(field.axes):
        dim = dim_of(placed, index, len(field.axes), first, len(shape))
        if dim is None:
            return None
        size, count = field.shape[dim], shape[dim]
        starts = [each * size // count for each in range(count)]
        ends = [-(-(each + 1) * size // count) for each in range(count)]
        longest = max(end - start for start, end in zip(starts, ends, strict=True))
        taps = np.array(
            [
                [min(start + each, end - 1) for each in range(longest)]
                for start, end in zip(starts, ends, strict=True)
            ],
            dtype=np.int64,
        )

        def made(
            axis: Axis,
            taps: Labels = taps,
            ratio: Fraction = Fraction(size, count),
            longest: int = longest,
        ) -> Axis:
            seen = axis.seen(taps, axis.jump * ratio)
            grown = (longest - 1) * float(axis.jump)
            return replace(
                seen,
                least=axis.least + round(grown),
                paths=axis.paths.through(longest, float(axis.jump), weights=False),
            )

        found.append(by_lines(placed, dim, field.shape, made))
    return tuple(found)


def _groups(context: Context, node: Node, field: Field) -> list[Labels]:
    """Return the input channels that the outputs of a convolution see, in turn."""
    inputs = np.arange(field.shape[1], dtype=np.int64)
    windows = context.windows.get(node.module)
    if windows is not None and len(windows) == node.output.shape[1]:
        return [inputs[list(each)] for each in windows]
    given = node.arguments.get("groups", 1)
    count = given if isinstance(given, int) and len(inputs) % given == 0 else 1
    return np.split(inputs, count)


def _mixed(node: Node, field: Field, groups: Sequence[Labels]) -> Placed | None:
    """Return the channels after a convolution."""
    dims = field.channels.along()
    outputs = node.output.shape[1]
    if any(each != 1 for each in dims):
        return None
    table = field.channels.table
    assert isinstance(table, Rows)
    labels = np.broadcast_to(field.channels.labels.reshape(-1), field.shape[1])
    sets: dict[int, int] = {}
    of_group = []
    for each in groups:
        bits = table.all_of(np.unique(labels[each]).tolist())
        of_group.append(sets.setdefault(bits, len(sets)))
    made = np.repeat(
        np.array(of_group, dtype=np.int64), max(1, outputs // len(of_group))
    )
    rank = len(node.output.shape)
    found = made.reshape(tuple(-1 if d == 1 else 1 for d in range(rank)))
    return Placed(narrowed(found), Rows(tuple(sets)))


def resampled(context: Context, node: Node) -> Field | list[Field | None]:
    """Nearest, linear, cubic: what the weights of an output reach.

    Taps whose weight is zero reach nothing; a place that all of an output's weight
    falls on is its only one.
    """
    field = context.reads(node)[0]
    shape = node.output.shape
    rank = len(shape) - 2
    corners = bool(node.arguments.get("align_corners"))
    scales = _scales(node, rank)
    found = []
    for index, placed in enumerate(field.axes):
        dim = dim_of(placed, index, len(field.axes), 2, rank + 2)
        if dim is None or "grid" in node.op:
            return context.everything(node)
        size, count = field.shape[dim], shape[dim]
        scale = scales[dim - 2] if dim >= 2 else None
        taps = _resampling(node.op, size, count, scale, corners=corners)

        def made(
            axis: Axis, taps: Labels = taps, ratio: Fraction = Fraction(size, count)
        ) -> Axis:
            return axis.seen(taps, axis.jump * ratio)

        found.append(by_lines(placed, dim, field.shape, made))
    return replace(field, shape=shape, axes=tuple(found))


def _scales(node: Node, rank: int) -> list[float | None]:
    """Return the scales that a resampling was asked for, None where it was a size."""
    given = node.arguments.get("scale_factors")
    if isinstance(given, tuple) and len(given) == rank:
        return [
            float(each) if isinstance(each, int | float) else None for each in given
        ]
    found: list[float | None] = []
    for name in ("scales_d", "scales_h", "scales_w")[3 - rank :]:
        value = node.arguments.get(name, node.arguments.get("scales"))
        found.append(float(value) if isinstance(value, int | float) else None)
    return found


def _resampling(
    op: str, size: int, count: int, scale: float | None, *, corners: bool
) -> Labels:
    """Return the places that each output of a resampling reads, by row."""
    at = np.arange(count)
    step = 1 / scale if scale else size / count
    if "nearest" in op:
        # As PyTorch does it, in single precision.
        start = np.floor(at.astype(np.float32) * np.float32(step)).astype(np.int64)
        nearest: Labels = np.minimum(start, size - 1)[:, None]
        return nearest
    if corners:
        middle = at * ((size - 1) / (count - 1)) if count > 1 else at * 0.0
    else:
        middle = (at + 0.5) * step - 0.5
    reach = (-1, 2) if "cubic" in op else (0, 1)
    if "cubic" not in op and not corners:
        middle = np.maximum(middle, 0.0)
    start = np.floor(middle + 1e-9).astype(np.int64)
    alone = np.abs(middle - start) < 1e-6  # all the weight is on one place
    offsets = np.arange(reach[0], reach[1] + 1)
    taps = start[:, None] + np.where(alone[:, None], 0, offsets[None])
    inside: Labels = np.clip(taps, 0, size - 1)
    return inside


def padded(context: Context, node: Node) -> Field | list[Field | None]:
    """Zeros around an image: positions that see nothing of it."""
    field = context.reads(node)[0]
    given = node.arguments.get("pad") or node.arguments.get("padding")
    mode = node.arguments.get("mode", "constant")
    if not isinstance(given, tuple) or mode != "constant":
        return moved(context, node)
    amounts = [each for each in given if isinstance(each, int)]
    rank = len(field.shape)
    before = {rank - 1 - each // 2: amounts[each] for each in range(0, len(amounts), 2)}
    if any(len(placed.along()) > 1 for placed in field.axes):
        return moved(context, node)
    spatial = {each for placed in field.axes for each in placed.along()}
    if any(
        amounts[2 * (rank - 1 - dim)] or amounts[2 * (rank - 1 - dim) + 1]
        for dim in before
        if dim not in spatial
    ):
        return moved(context, node)
    axes = []
    for placed in field.axes:
        dims = placed.along()
        if not dims or dims[0] not in before:
            axes.append(placed)
            continue
        axis = axis_of(placed).take(placed.labels.reshape(-1))
        count = node.output.shape[dims[0]]
        made = axis.window(count, kernel=1, before=before[dims[0]])
        axes.append(Placed(along(rank, dims[0], count), made))
    return replace(field, shape=node.output.shape, axes=tuple(axes))


def _grouped(field: Field, groups: Sequence[Labels], outputs: int) -> Field:
    """Return a field whose axes are united over the channels that an output sees."""
    if all(1 not in placed.along() for placed in field.axes):
        return field

    def united(placed: Placed) -> Placed:
        if 1 not in placed.along():
            return placed
        # Of groups whose channels have the same lines one is united.
        kinds, which = np.unique(placed.labels, axis=1, return_inverse=True)
        which = which.reshape(-1)
        seen: dict[tuple[int, ...], int] = {}
        parts: list[Placed] = []
        of_group: list[int] = []
        for each in groups:
            key = tuple(np.unique(which[each]).tolist())
            if key not in seen:
                seen[key] = len(parts)
                some = Placed(kinds[:, list(key)], placed.table)
                parts.append(united_along(some, {1}, some.labels.ndim))
            of_group.append(seen[key])
        if len(parts) == 1:
            return parts[0]
        table, offsets = stacked([each.table for each in parts])
        every = np.concatenate(
            [each.labels + offset for each, offset in zip(parts, offsets, strict=True)],
            axis=1,
        )
        repeated = np.repeat(of_group, max(1, outputs // len(of_group)))
        return Placed(narrowed(every[:, repeated]), table)

    return replace(field, axes=tuple(map(united, field.axes)))


def _each(node: Node, name: str, rank: int, default: int) -> tuple[int, ...]:
    value = node.arguments.get(name)
    numbers = value if isinstance(value, tuple) else (value,)
    found = tuple(each for each in numbers if isinstance(each, int))
    if not found:
        found = (default,)
    return found * rank if len(found) == 1 else found


def _before(
    node: Node, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    padding = node.arguments.get("padding")
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        return tuple(
            (size - 1) * apart // 2
            for size, apart in zip(kernel, dilation, strict=True)
        )
    return _each(node, "padding", len(kernel), 0)
