"""Where the elements of a tensor stand in memory, and how a kernel finds them.

One form for all: row-major tensors, views of them, broadcast operands, channels last,
and the packed form of convolutions, ``[N, C/block, H, W, block]``, with zeros around
each image (a halo), so that padding costs neither a copy nor a branch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from trimtab.compiler.loops import Expr, Number, Value, expr

__all__ = ["Halo", "Layout", "Split", "packed", "row_major"]

Halo = tuple[int, int, int, int]
"""Zeros above, below, left and right of an image."""

NO_HALO: Halo = (0, 0, 0, 0)


@final
@dataclass(frozen=True, slots=True)
class Split:
    """A coordinate in two parts: ``outer * size + inner``, inner below size."""

    outer: Expr
    inner: Expr
    size: int

    @property
    def whole(self) -> Expr:
        """The coordinate as one value."""
        return self.outer * self.size + self.inner


Coordinate = Split | Value


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The place of every element of a tensor in a flat buffer.

    Attributes:
        shape: of the tensor.
        strides: elements between neighbours along each axis; 0 where it is broadcast;
            along the blocked axis between blocks.
        size: elements of the whole buffer, halo included.
        offset: place of the first element.
        axis: the blocked one, or None.
        block: neighbours of the blocked axis that lie together.
        halo: zeros around the last two axes.

    Example:
        >>> from trimtab.compiler.loops import Var
        >>> layout = packed((1, 16, 4, 4), block=8, halo=(1, 1, 1, 1))
        >>> layout.size == 2 * 6 * 6 * 8
        True
        >>> c, h, w = Var("c"), Var("h"), Var("w")
        >>> print(layout.at((0, Split(c, expr(3), 8), h, w)))
        c * 288 + h * 48 + w * 8 + 59
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    offset: int = 0
    axis: int | None = None
    block: int = 1
    halo: Halo = NO_HALO

    def at(self, coordinates: Sequence[Coordinate]) -> Expr:
        """Return the place of an element in the flat buffer.

        Args:
            coordinates: one an axis.
        """
        constant = self.offset
        terms: list[Expr] = []

        def add(value: Value, factor: int) -> None:
            nonlocal constant
            each = expr(value)
            if factor == 0:
                return
            if isinstance(each, Number):
                constant += int(each.value) * factor
            else:
                terms.append(each * factor)

        for axis, (given, stride) in enumerate(
            zip(coordinates, self.strides, strict=True)
        ):
            if axis == self.axis:
                outer, inner = _blocked(given, self.block)
                add(outer, stride)
                add(inner, 1)
            elif isinstance(given, Split):
                add(given.outer, stride * given.size)
                add(given.inner, stride)
            else:
                add(given, stride)
        total: Expr = Number(0)
        for term in terms:
            total = total + term
        return total + constant if constant or not terms else total

    @property
    def dense(self) -> bool:
        """Whether it is row-major without gaps."""
        return self == row_major(self.shape)

    def contiguous_along(self, axis: int) -> int:
        """Return how many neighbours along an axis lie together."""
        if axis == self.axis:
            return self.block
        return self.shape[axis] if self.strides[axis] == 1 else 1

    def broadcast(self, shape: Sequence[int]) -> Layout:
        """Return the layout of the tensor expanded to a shape, as PyTorch does.

        Raises:
            ValueError: it cannot be.
        """
        lead = len(shape) - len(self.shape)
        strides = [0] * lead
        for have, want, stride in zip(
            self.shape, shape[lead:], self.strides, strict=True
        ):
            if have not in (want, 1):
                raise ValueError(f"{self.shape} does not broadcast to {tuple(shape)}")
            strides.append(stride if have == want else 0)
        axis = None
        if self.axis is not None and shape[lead + self.axis] == self.shape[self.axis]:
            axis = lead + self.axis
        return Layout(
            shape=tuple(shape),
            strides=tuple(strides),
            size=self.size,
            offset=self.offset,
            axis=axis,
            block=self.block if axis is not None else 1,
        )

    def slice_of(self, axis: int, start: int, length: int) -> Layout:
        """Return the layout of a part along an axis, in the same buffer.

        Raises:
            ValueError: the part does not start where a block does.
        """
        offset = start * self.strides[axis]
        if axis == self.axis:
            if start % self.block or length % self.block:
                raise ValueError(f"{start}+{length} cuts blocks of {self.block}")
            offset = start // self.block * self.strides[axis]
        shape = list(self.shape)
        shape[axis] = length
        return Layout(
            shape=tuple(shape),
            strides=self.strides,
            size=self.size,
            offset=self.offset + offset,
            axis=self.axis,
            block=self.block,
            halo=self.halo,
        )


def row_major(shape: Sequence[int]) -> Layout:
    """Return the layout PyTorch calls contiguous.

    Example:
        >>> row_major((2, 3, 4)).strides
        (12, 4, 1)
    """
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return Layout(shape=tuple(shape), strides=tuple(strides), size=math.prod(shape))


def packed(shape: Sequence[int], *, block: int, halo: Halo = NO_HALO) -> Layout:
    """Return the layout ``[N, C/block, H, W, block]`` of a tensor ``(N, C, H, W)``.

    Args:
        shape: of the tensor.
        block: channels that lie together; it divides C. With all of C it is the layout
            called channels last.
        halo: zeros around each image.

    Raises:
        ValueError: the block does not divide the channels.
    """
    batch, channels, height, width = shape
    if channels % block:
        raise ValueError(f"blocks of {block} in {channels} channels")
    top, bottom, left, right = halo
    row = (width + left + right) * block
    plane = (height + top + bottom) * row
    size = batch * channels // block * plane
    if block == channels or (height == width == 1 and halo == NO_HALO):
        # Channels are plain neighbours then, and views need no special case.
        return Layout(
            shape=tuple(shape),
            strides=(channels // block * plane, 1, row, block),
            size=size,
            offset=top * row + left * block,
            halo=halo,
        )
    return Layout(
        shape=tuple(shape),
        strides=(channels // block * plane, plane, row, block),
        size=size,
        offset=top * row + left * block,
        axis=1,
        block=block,
        halo=halo,
    )


def _blocked(given: Coordinate, block: int) -> tuple[Value, Value]:
    """Return a coordinate as number of the block and place in it."""
    if isinstance(given, Split):
        if given.size == block:
            return given.outer, given.inner
        if block % given.size == 0:
            parts = block // given.size
            return given.outer // parts, (
                given.outer % parts * given.size + given.inner
            )
        given = given.whole
    value = expr(given)
    if isinstance(value, Number):
        whole = int(value.value)
        return whole // block, whole % block
    return value // block, value % block
