"""What a value of a network sees: rows, columns and channels of its image.

Every value carries labels: for each of its elements, which position of the image's rows
it stands for, which of the columns, and which set of channels it sees
(`trimtab.design.labels`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from trimtab.design.axis import Axis
from trimtab.design.channels import Entries, Rows
from trimtab.design.labels import Placed, axis_of, rows_of, united, united_along
from trimtab.graph.types import Graph, Node, Ref

__all__ = [
    "Context",
    "Field",
    "Fields",
    "broadcast",
    "together",
    "united_over",
    "without",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a value sees.

    Attributes:
        shape: of the value.
        axes: of the image, rows before columns.
        channels: of its stage.
        gated: whether it was scaled by what sees the whole image.
    """

    shape: tuple[int, ...]
    axes: tuple[Placed, ...]
    channels: Placed
    gated: bool = False

    def axis(self, number: int) -> Axis:
        """Return an axis of the image as the value's elements see it."""
        return axis_of(self.axes[number]).take(np.unique(self.axes[number].labels))

    @property
    def rows(self) -> Rows:
        """The sets of channels of the value's elements, each once."""
        table = rows_of(self.channels)
        return Rows(tuple(table.bits[each] for each in np.unique(self.channels.labels)))

    @property
    def channel_count(self) -> float:
        """How many channels of its stage a channel sees, on average."""
        labels, table = self.channels.labels, rows_of(self.channels)
        return float(table.counts()[labels].mean()) if labels.size else 0.0

    @property
    def spatial(self) -> tuple[int, ...]:
        """Sizes of the dimensions along which places of the image differ."""
        dims = {each for placed in self.axes for each in placed.along()}
        if len(self.shape) == len(self.axes) + 2:
            dims -= {0, 1}  # joined branches may see unlike much: that is no place
        return tuple(self.shape[each] for each in sorted(dims))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Fields of all values that depend on the image.

    Attributes:
        image: its size, rows before columns.
        values: by value.
        before: channels of the old stage that a channel of a value sees, on average,
            where the value begins a new one.
        unknown: nodes whose operator is taken to see everything.
        misaligned: nodes that unite positions of different jump.
    """

    image: tuple[int, ...]
    values: Mapping[Ref, Field]
    before: Mapping[Ref, float]
    unknown: tuple[str, ...]
    misaligned: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known while fields are worked out, node by node.

    Attributes:
        graph: of the network.
        windows: input channels of each output of some convolutions, by module.
        values: fields so far.
        known: values that say which elements are taken.
        entries: of stages.
        unknown: nodes whose operator is taken to see everything.
        misaligned: nodes that unite positions of different jump.
    """

    graph: Graph
    windows: Mapping[str, Sequence[Sequence[int]]]
    known: dict[Ref, torch.Tensor]
    values: dict[Ref, Field] = dataclasses.field(default_factory=dict)
    entries: Entries = dataclasses.field(default_factory=Entries)
    unknown: list[str] = dataclasses.field(default_factory=list)
    misaligned: list[str] = dataclasses.field(default_factory=list)

    def reads(self, node: Node) -> list[Field]:
        """Return the fields of what a node reads of the image."""
        return [self.values[ref] for ref in node.inputs if ref in self.values]

    def everything(self, node: Node) -> list[Field | None]:
        """Return fields of an operator without a rule: they see all there is."""
        self.unknown.append(node.name)
        whole = united_over(self.reads(node), None)
        return [
            None if kind is None else broadcast(whole, kind.shape)
            for kind in node.outputs
        ]


def together(one: Field, two: Field, shape: tuple[int, ...]) -> Field:
    """Return what values see together, element by element."""
    return Field(
        shape=shape,
        axes=tuple(united(a, b) for a, b in zip(one.axes, two.axes, strict=True)),
        channels=united(one.channels, two.channels),
        gated=one.gated or two.gated,
    )


def broadcast(field: Field, shape: tuple[int, ...]) -> Field:
    """Return a field with dimensions of size one in front where it lacks some."""
    rank = len(shape)
    if len(field.shape) == rank:
        return field if field.shape == shape else replace(field, shape=shape)

    def wide(placed: Placed) -> Placed:
        labels = placed.labels
        if labels.size == 1:
            return Placed(labels.reshape((1,) * rank), placed.table)
        missing = rank - labels.ndim
        return Placed(labels.reshape((1,) * missing + labels.shape), placed.table)

    return Field(
        shape=shape,
        axes=tuple(map(wide, field.axes)),
        channels=wide(field.channels),
        gated=field.gated,
    )


def united_over(reads: Sequence[Field], dims: Sequence[int] | None) -> Field:
    """Return values united along dimensions, or along all, and with each other."""
    found = []
    for field in reads:
        rank = len(field.shape)
        over = set(range(rank)) if dims is None else {d % rank for d in dims}
        shape = tuple(1 if d in over else s for d, s in enumerate(field.shape))
        if dims is None:
            shape = (1,)
        found.append(
            Field(
                shape=shape,
                axes=tuple(
                    _grown(united_along(placed, over, len(shape)), placed, over, rank)
                    for placed in field.axes
                ),
                channels=united_along(field.channels, over, len(shape)),
                gated=field.gated,
            )
        )
    field = found[0]
    for other in found[1:]:
        field = together(field, other, field.shape)
    return field


def _grown(made: Placed, placed: Placed, over: set[int], rank: int) -> Placed:
    """Return labels whose narrowest path sees all the places that were united."""
    axis = axis_of(made)
    batch_and_channels = {0, 1} if rank > 2 else {0}
    if not (set(placed.along()) & over) - batch_and_channels:
        return made
    whole = axis_of(placed)
    return Placed(
        made.labels,
        replace(
            axis,
            least=max(axis.least, axis.size),
            paths=whole.paths.through(len(whole), float(whole.jump), weights=False),
        ),
    )


def without(field: Field, shape: tuple[int, ...], dims: Sequence[int]) -> Field:
    """Return a field without the dimensions of size one that a reduction left."""
    if len(shape) == len(field.shape):
        return replace(field, shape=shape)
    gone = tuple(sorted(dims))

    def narrow(placed: Placed) -> Placed:
        labels = placed.labels
        if labels.size == 1:
            return Placed(labels.reshape((1,) * len(shape)), placed.table)
        return Placed(np.squeeze(labels, gone), placed.table)

    return Field(
        shape=shape,
        axes=tuple(map(narrow, field.axes)),
        channels=narrow(field.channels),
        gated=field.gated,
    )
