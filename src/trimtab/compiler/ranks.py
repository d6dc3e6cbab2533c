"""Tensors of other ranks as images: axes of extent one are put in, and taken out.

Convolutions compute on ``(N, C, H, W)``. One along a line is one of height 1, a sample
without a batch is a batch of 1; no element moves for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trimtab.compiler.layout import NO_HALO, Layout

__all__ = ["insert", "insert_ones", "remove"]


def insert_ones(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with axes of extent one put in.

    Args:
        shape: of a tensor.
        axes: their places in the result, in rising order.

    Example:
        >>> insert_ones((4, 10), (0, 2))
        (1, 4, 1, 10)
    """
    found = list(shape)
    for axis in axes:
        found.insert(axis, 1)
    return tuple(found)


def insert(layout: Layout, axes: Sequence[int]) -> Layout:
    """Return the layout of a tensor with axes of extent one put in.

    Args:
        layout: without a halo, which belongs to the last two axes.
        axes: their places in the result, in rising order.

    Example:
        >>> from trimtab.compiler.layout import row_major
        >>> insert(row_major((2, 3, 5)), (2,)).strides
        (15, 5, 0, 1)
    """
    if not axes:
        return layout
    strides, blocked = list(layout.strides), layout.axis
    for axis in axes:
        strides.insert(axis, 0)
        if blocked is not None and axis <= blocked:
            blocked += 1
    shape = insert_ones(layout.shape, axes)
    return replace(layout, shape=shape, strides=tuple(strides), axis=blocked)


def remove(layout: Layout, axes: Sequence[int]) -> Layout:
    """Return the layout of a tensor without axes of extent one, and without a halo.

    The zeros are still there; only who has the image knows of them.

    Args:
        layout: of an image.
        axes: places in it, in rising order.

    Example:
        >>> from trimtab.compiler.layout import packed
        >>> remove(packed((2, 8, 1, 5), block=8, halo=(0, 0, 1, 1)), (2,)).shape
        (2, 8, 5)
    """
    if not axes:
        return layout
    kept = [axis for axis in range(len(layout.shape)) if axis not in axes]
    return replace(
        layout,
        shape=tuple(layout.shape[axis] for axis in kept),
        strides=tuple(layout.strides[axis] for axis in kept),
        axis=None if layout.axis is None else kept.index(layout.axis),
        halo=NO_HALO,
    )
