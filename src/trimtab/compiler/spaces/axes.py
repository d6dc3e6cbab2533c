"""Axes of several tensors as loops: split at blocks, joined where all run on.

Tensors of one shape, each with a layout of its own, are visited by the same loops. A
coordinate along an axis that some layout has in blocks is counted in digits: number of
the block, place in it. Two loops of which the outer continues the inner in every tensor
are one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trimtab.compiler.layout import Layout

__all__ = ["Digit", "digits", "join"]


class Digit(NamedTuple):
    """A loop over all tensors.

    Attributes:
        extent: of it.
        strides: of each tensor, in elements.
        axis: of the shape; the outermost one where several are joined.
        weight: what a step adds to the coordinate of the axis.
    """

    extent: int
    strides: tuple[int, ...]
    axis: int = 0
    weight: int = 1


def digits(
    tensors: Sequence[Layout], ends: Mapping[int, Sequence[int]] | None = None
) -> list[Digit]:
    """Return loops that visit all elements, axis by axis, outer digits first.

    Args:
        tensors: layouts, all of one shape.
        ends: for an axis, sizes besides blocks at which its digits end.

    Raises:
        ValueError: blocks of an axis do not divide each other.

    Example:
        >>> from trimtab.compiler.layout import packed, row_major
        >>> shape = (1, 16, 2, 2)
        >>> for each in digits((packed(shape, block=8), row_major(shape))):
        ...     print(each.extent, each.strides)
        2 (32, 32)
        8 (1, 4)
        2 (16, 2)
        2 (8, 1)
    """
    found = []
    for axis, extent in enumerate(tensors[0].shape):
        sizes = {each.block for each in tensors if each.axis == axis}
        sizes |= set((ends or {}).get(axis, ()))
        steps = [1, *sorted(size for size in sizes if 1 < size < extent), extent]
        for low, high in reversed(list(itertools.pairwise(steps))):
            if high % low:
                raise ValueError(f"blocks {sorted(sizes)} of an axis of {extent}")
            if high > low:
                strides = tuple(_stride(each, axis, low) for each in tensors)
                found.append(Digit(high // low, strides, axis, low))
    return found


def join(loops: Sequence[Digit]) -> list[Digit]:
    """Return loops in the order given, neighbours that run on in all tensors as one."""
    joined: list[Digit] = []
    for each in loops:
        last = joined[-1] if joined else None
        if last and all(
            outer == inner * each.extent
            for outer, inner in zip(last.strides, each.strides, strict=True)
        ):
            joined[-1] = last._replace(
                extent=last.extent * each.extent, strides=each.strides
            )
        else:
            joined.append(each)
    return joined


def _stride(layout: Layout, axis: int, weight: int) -> int:
    """Return what a step of a digit adds to the place in the buffer."""
    stride = layout.strides[axis]
    if axis != layout.axis:
        return stride * weight
    return weight if weight < layout.block else weight // layout.block * stride
