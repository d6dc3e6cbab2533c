"""Labels: which place of the image each element of a value stands for.

For every element a number that points into a table: of positions along an axis of the
image (`trimtab.design.axis`), or of sets of channels (`trimtab.design.channels`).
Labels have as many dimensions as their value, of size one where they do not differ, so
that a convolution's are a few dozen numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from trimtab.design.axis import Axis, Paths
from trimtab.design.channels import Rows

__all__ = [
    "Labels", "Placed", "along", "axis_of", "by_lines", "dim_of", "narrowed", "packed",
    "rows_of", "stacked", "united", "united_along",
]  # fmt: skip

Labels = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """Labels of a value, and the table of what they stand for.

    Attributes:
        labels: as many dimensions as the value, of size 1 where they do not differ.
        table: an axis of the image, or sets of channels.
    """

    labels: Labels
    table: Axis | Rows

    def along(self) -> tuple[int, ...]:
        """Return the dimensions along which labels differ."""
        return tuple(each for each, size in enumerate(self.labels.shape) if size != 1)


def along(rank: int, dim: int, size: int) -> Labels:
    """Return labels 0, 1, 2 ... along one dimension."""
    return np.arange(size, dtype=np.int64).reshape(
        tuple(size if each == dim else 1 for each in range(rank))
    )


def axis_of(placed: Placed) -> Axis:
    """Return the table of labels that stand for positions."""
    assert isinstance(placed.table, Axis)
    return placed.table


def rows_of(placed: Placed) -> Rows:
    """Return the table of labels that stand for sets of channels."""
    assert isinstance(placed.table, Rows)
    return placed.table


def narrowed(labels: Labels) -> Labels:
    """Return labels with dimensions along which they do not differ of size one."""
    for dim, size in enumerate(labels.shape):
        if size > 1:
            one = labels.take([0], dim)
            if np.array_equal(np.broadcast_to(one, labels.shape), labels):
                labels = one
    return labels


def packed(result: torch.Tensor, table: Axis | Rows) -> Placed:
    """Return labels that an operator has moved."""
    for dim, (size, stride) in enumerate(
        zip(result.shape, result.stride(), strict=True)
    ):
        if size > 1 and stride == 0:  # expanded: no need to compare
            result = result.narrow(dim, 0, 1)
    labels = narrowed(np.ascontiguousarray(result.numpy()))
    if labels.size and labels.min() < 0:
        # Elements that see nothing.
        table, empty = _with_nothing(table)
        labels = np.where(labels < 0, empty, labels)
    return Placed(labels, table)


def _with_nothing(table: Axis | Rows) -> tuple[Axis | Rows, int]:
    if isinstance(table, Rows):
        return Rows((*table.bits, 0)), len(table)
    tables, offsets = stacked([table, Axis.of_nothing(table.pixels)])
    assert isinstance(tables, Axis)
    return (
        replace(
            tables,
            jump=table.jump,
            least=table.least,
            paths=table.paths,
        ),
        offsets[1],
    )


def stacked(
    tables: Sequence[Axis | Rows],
) -> tuple[Axis | Rows, list[int]]:
    """Return tables behind each other as one, and where each begins."""
    if all(each is tables[0] for each in tables):
        return tables[0], [0] * len(tables)
    offsets = np.cumsum([0, *(len(each) for each in tables[:-1])]).tolist()
    rows = [each for each in tables if isinstance(each, Rows)]
    if rows:
        return Rows(tuple(bit for each in rows for bit in each.bits)), offsets
    axes = [each for each in tables if isinstance(each, Axis)]

    def joined(read: Callable[[Axis], Labels]) -> Labels:
        return np.concatenate([read(each) for each in axes])

    return (
        Axis(
            pixels=axes[0].pixels,
            low=joined(lambda each: each.low),
            high=joined(lambda each: each.high),
            first=joined(lambda each: each.first),
            last=joined(lambda each: each.last),
            jump=max(each.jump for each in axes),
            least=min(each.least for each in axes),
            paths=Paths.met([each.paths for each in axes]),
        ),
        offsets,
    )


def united(one: Placed, two: Placed) -> Placed:
    """Return labels that stand for what two see together."""
    if one.table is two.table and np.array_equal(one.labels, two.labels):
        return one
    shape = np.broadcast_shapes(one.labels.shape, two.labels.shape)
    first = np.broadcast_to(one.labels, shape)
    second = np.broadcast_to(two.labels, shape)
    pairs = first * len(two.table) + second
    kinds, labels = np.unique(pairs, return_inverse=True)
    places, others = kinds // len(two.table), kinds % len(two.table)
    if isinstance(one.table, Axis):
        assert isinstance(two.table, Axis)
        table: Axis | Rows = one.table.union(places, two.table, others)
    else:
        assert isinstance(two.table, Rows)
        table = one.table.union(places, two.table, others)
    return Placed(narrowed(labels.reshape(shape)), table)


def united_along(placed: Placed, dims: set[int], rank: int) -> Placed:
    """Return labels united along dimensions; all of them where the rank falls to 1."""
    labels = placed.labels
    if rank == 1 and labels.ndim != 1:
        dims = set(range(labels.ndim))
    inner = tuple(each for each in range(labels.ndim) if each in dims)
    outer = tuple(each for each in range(labels.ndim) if each not in dims)
    if all(labels.shape[each] == 1 for each in inner):
        return (
            Placed(labels.reshape((1,) * rank), placed.table)
            if (labels.size == 1)
            else placed
        )
    turned = labels.transpose(*outer, *inner)
    kept = tuple(labels.shape[each] for each in outer)
    flat = turned.reshape(int(np.prod(kept, dtype=np.int64)), -1)
    groups = np.repeat(np.arange(len(flat), dtype=np.int64), flat.shape[1])
    places = flat.reshape(-1)
    if isinstance(placed.table, Axis):
        table: Axis | Rows = placed.table.take(places).together(groups, len(flat))
    else:
        bits = placed.table.bits
        table = Rows(tuple(bits[each] for each in places.tolist())).together(
            groups, len(flat)
        )
    shape = tuple(1 if each in dims else size for each, size in enumerate(labels.shape))
    found = np.arange(len(flat), dtype=np.int64).reshape(shape)
    return Placed(found.reshape((1,) * rank) if found.size == 1 else found, table)


def dim_of(placed: Placed, number: int, axes: int, first: int, rank: int) -> int | None:
    """Return the dimension that an axis lies along; None where it lies along several.

    Args:
        placed: the axis.
        number: of the axis.
        axes: how many there are.
        first: dimension of images, behind batch and channels.
        rank: dimensions of the value.
    """
    dims = [each for each in placed.along() if each >= first]
    if len(dims) > 1 or any(each < first - 1 for each in placed.along()):
        return None
    # An axis of one position lies where its number says.
    return dims[0] if dims else max(first, rank - axes + number)


def by_lines(
    placed: Placed,
    dim: int,
    shape: tuple[int, ...],
    made: Callable[[Axis], Axis],
) -> Placed:
    """Return labels after every line along a dimension has become another.

    Lines are few: channels differ where branches that see unlike much are joined.
    """
    labels = np.moveaxis(placed.labels, dim, -1)
    others = labels.shape[:-1]
    lines = np.broadcast_to(labels, (*others, shape[dim])).reshape(-1, shape[dim])
    if len(lines) == 1:
        kinds, which = lines, np.zeros(1, dtype=np.int64)
    else:
        kinds, which = np.unique(lines, axis=0, return_inverse=True)
    axis = axis_of(placed)
    tables = [made(axis.take(each)) for each in kinds]
    if len(tables) == 1:
        return Placed(along(len(shape), dim, len(tables[0])), tables[0])
    table, offsets = stacked(tables)
    count = len(tables[0])
    found = np.array(offsets)[which.reshape(others)][..., None] + np.arange(count)
    return Placed(np.moveaxis(found, -1, dim), table)
