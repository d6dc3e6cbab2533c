"""Receptive fields of every value of a graph: rows, columns and channels, exactly.

Every value carries labels: for each of its elements, which position of the image's rows
it stands for, which of the columns, and which set of channels it sees. Labels are kept
where they differ only. What moves elements about (reshape, permute, slice, shuffle) moves
the labels by PyTorch's own operators; what combines elements unites what their labels
stand for. So channel shuffles, windows of attention and concatenations need no rule of
their own.

The propagation is exact for what convolutions, pools and sums see (their support equals
that of a gradient). What a statistic or a gate sees (normalisation over the image,
squeeze and excitation) is not added to the field; the value is marked `gated`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from trimtab.design.axis import Axis
from trimtab.design.channels import Entries, Rows
from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.execute import run_node
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import Graph, Node, Ref

__all__ = ["Field", "Fields", "Placed", "fields_of", "image_of", "is_nothing"]

Labels = NDArray[np.int64]


_PLACES = ("int64", "int32", "bool")
_MOST_PLACES = 1 << 22
# Of values that say which elements are taken: their type, and how many are worked out.


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
        table = self.axes[number].table
        assert isinstance(table, Axis)
        return table.take(np.unique(self.axes[number].labels))

    @property
    def rows(self) -> Rows:
        """The sets of channels of the value's elements, each once."""
        table = self.channels.table
        assert isinstance(table, Rows)
        return Rows(tuple(table.bits[each] for each in np.unique(self.channels.labels)))

    @property
    def channel_count(self) -> float:
        """How many channels of its stage a channel sees, on average."""
        table = self.channels.table
        assert isinstance(table, Rows)
        labels = self.channels.labels
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


def image_of(graph: Graph) -> tuple[str, tuple[int, ...]]:
    """Return the input that is the image, and its size without batch and channels.

    Raises:
        UsageError: no input has the dimensions of a batch of images.
    """
    found = [
        (leaf.name, leaf.type.shape)
        for leaf in graph.inputs
        if leaf.type is not None and 3 <= len(leaf.type.shape) <= 5
    ]
    if not found:
        raise UsageError(
            f"receptive fields of network {graph.name!r}",
            rule="no input is a batch of images: (batch, channels, rows, columns)",
            where="the inputs of the graph",
            remedy="give an example input of three to five dimensions",
        )
    name, shape = max(found, key=lambda each: len(each[1]))
    return name, shape[2:]


def fields_of(
    graph: Graph,
    *,
    known: Mapping[Ref, torch.Tensor] | None = None,
    windows: Mapping[str, Sequence[Sequence[int]]] | None = None,
) -> Fields:
    """Return what every value of a network sees of its image.

    Args:
        graph: of the network.
        known: values of constants that say which elements are taken, integers or truths;
            those written in the code need not be given.
        windows: input channels of each output of convolutions whose weights are known
            to be zero elsewhere, by path of their module.

    Raises:
        UsageError: no input is a batch of images.
    """
    name, image = image_of(graph)
    return _Propagation(graph, image, dict(known or {}), dict(windows or {})).run(name)


def is_nothing(node: Node) -> bool:
    """Whether a node multiplies by zero: through it nothing is seen.

    Search spaces leave a path out that way.
    """
    return _multiplies(node.op) and 0 in (
        each for each in node.arguments.values() if isinstance(each, int | float)
    )


def _places(graph: Graph) -> dict[Ref, torch.Tensor]:
    """Return the constants written in the code that say which elements are taken."""
    found = {}
    for each in graph.constants:
        if each.data is not None and each.type.dtype in _PLACES:
            values = np.frombuffer(each.data, dtype=each.type.dtype)
            tensor = torch.from_numpy(values.copy()).view(each.type.shape)
            found[Ref(each.name)] = tensor
    return found


@final
class _Propagation:
    def __init__(
        self,
        graph: Graph,
        image: tuple[int, ...],
        known: dict[Ref, torch.Tensor],
        windows: dict[str, Sequence[Sequence[int]]],
    ) -> None:
        self.graph, self.image = graph, image
        self.known = {**_places(graph), **known}
        self.windows = windows
        self.values: dict[Ref, Field] = {}
        self.before: dict[Ref, float] = {}
        self.entries = Entries()
        self.unknown: list[str] = []
        self.misaligned: list[str] = []

    def run(self, source: str) -> Fields:
        for leaf in self.graph.inputs:
            # Of several inputs those of the image's size are images, too.
            if leaf.type is not None and (
                leaf.name == source or leaf.type.shape[2:] == self.image
            ):
                self.values[Ref(leaf.name)] = self._begin(leaf.type.shape)
        for node in self.graph.nodes:
            if any(ref in self.values for ref in node.inputs):
                self._node(node)
            else:
                self._compute(node)
        return Fields(
            image=self.image,
            values=self.values,
            before=self.before,
            unknown=tuple(self.unknown),
            misaligned=tuple(self.misaligned),
        )

    def _compute(self, node: Node) -> None:
        """Work out places that follow from constants alone."""
        kind = node.outputs[0]
        if (
            kind is None
            or kind.dtype not in _PLACES
            or kind.elements > _MOST_PLACES
            or any(ref not in self.known for ref in node.inputs)
        ):
            return
        for index, value in enumerate(run_node(node, self.known)):
            if isinstance(value, torch.Tensor):
                self.known[Ref(node.name, index)] = value

    def _begin(self, shape: tuple[int, ...]) -> Field:
        rank = len(shape)
        axes = tuple(
            Placed(_along(rank, 2 + number, pixels), Axis.of_image(pixels))
            for number, pixels in enumerate(self.image)
        )
        return Field(
            shape=shape,
            axes=axes,
            channels=Placed(_along(rank, 1, shape[1]), self.entries.add(shape[1])),
        )

    # ------------------------------------------------------------ one node

    def _node(self, node: Node) -> None:
        family = OPERATORS[node.op].family
        rule = _RULES.get(node.op) or _FAMILIES.get(family, _Propagation._everything)
        found = rule(self, node)
        if found is None:
            return
        fields = found if isinstance(found, list) else [found]
        for output, (field, kind) in enumerate(zip(fields, node.outputs, strict=False)):
            if field is None or kind is None:
                continue
            ref = Ref(node.name, output)
            self.values[ref] = self._staged(node, field)
            if self.values[ref] is not field:
                self.before[ref] = field.channel_count

    def _staged(self, node: Node, field: Field) -> Field:
        """Begin a new stage where the resolution changed."""
        before = [self.values[ref] for ref in node.inputs if ref in self.values]
        if OPERATORS[node.op].family not in _RESIZING or not before:
            return field
        sizes = field.spatial
        if not sizes or sizes == before[0].spatial or len(field.shape) < 2:
            return field
        channels = field.shape[1]
        labels = _along(len(field.shape), 1, channels)
        return replace(field, channels=Placed(labels, self.entries.add(channels)))

    def _reads(self, node: Node) -> list[Field]:
        return [self.values[ref] for ref in node.inputs if ref in self.values]

    def _argument(self, node: Node, name: str) -> Field:
        ref = node.arguments[name]
        assert isinstance(ref, Ref)
        return self.values[ref]

    # ------------------------------------------------------------ rules

    def _same(self, node: Node) -> Field:
        """One value in, one of its shape out."""
        field = self._reads(node)[0]
        return self._broadcast(field, node.output.shape)

    def _joined(self, node: Node) -> Field | None:
        """Elements of several values, one by one."""
        reads = self._reads(node)
        shape = node.output.shape
        if is_nothing(node):
            return None
        if len(reads) == 1:
            return self._broadcast(reads[0], shape)
        if _multiplies(node.op):
            kept = _gated(reads)
            if kept is not None:
                return replace(self._broadcast(kept, shape), gated=True)
        wide = [self._broadcast(each, shape) for each in reads]
        rows = [each.channels.table for each in wide]
        merged = self.entries.merge([each for each in rows if isinstance(each, Rows)])
        wide = [
            replace(each, channels=Placed(each.channels.labels, table))
            for each, table in zip(wide, merged, strict=True)
        ]
        jumps = {
            tuple(_axis(placed).jump for placed in each.axes if placed.along())
            for each in wide
        }
        if len(jumps) > 1:
            self.misaligned.append(node.name)
        field = wide[0]
        for other in wide[1:]:
            field = Field(
                shape=shape,
                axes=tuple(
                    _united(one, two)
                    for one, two in zip(field.axes, other.axes, strict=True)
                ),
                channels=_united(field.channels, other.channels),
                gated=field.gated or other.gated,
            )
        return field

    def _moved(self, node: Node) -> list[Field | None] | Field:
        """Elements move: so do their labels, by the operator itself."""
        reads = [ref for ref in node.inputs if ref in self.values]
        fields = [self.values[ref] for ref in reads]
        if (
            len(reads) == 1
            and node.outputs[0] is not None
            and (node.output.shape == fields[0].shape and node.op in _IDENTITIES)
        ):
            return fields[0]
        parts = len(fields[0].axes) + 1
        results: list[list[Placed]] = [[] for _ in node.outputs]
        for part in range(parts):
            placed = [_part(each, part) for each in fields]
            tables, offsets = _stacked([each.table for each in placed])
            values = dict(self.known)
            for ref, field, each, offset in zip(
                reads, fields, placed, offsets, strict=True
            ):
                labels = torch.from_numpy(each.labels + offset).expand(field.shape)
                # A view of what is expanded is none that PyTorch could give.
                expanded = node.op not in _RESHAPING
                values[ref] = labels if expanded else labels.contiguous()
            for ref in node.inputs:
                if ref in values:
                    continue
                kind = self.graph.type_of(ref)
                if not kind.dtype.startswith(("float", "bfloat")):
                    return self._everything(node)  # places that nobody told
                # Something that is not of the image: its elements see nothing.
                values[ref] = torch.full(kind.shape, -1, dtype=torch.int64)
            try:
                with torch.no_grad():
                    outputs = run_node(_padded_with_nothing(node), values)
            except ExecutionError:
                return self._everything(node)  # it takes no integers
            for index, result in enumerate(outputs[: len(results)]):
                if isinstance(result, torch.Tensor):
                    results[index].append(_packed(result, tables))
        gated = any(each.gated for each in fields)
        return [
            Field(
                shape=kind.shape,
                axes=tuple(found[:-1]),
                channels=found[-1],
                gated=gated,
            )
            if kind is not None and len(found) == parts
            else None
            for kind, found in zip(node.outputs, results, strict=True)
        ]

    def _everything(self, node: Node) -> list[Field | None]:
        """An operator without a rule: each output is taken to see all there is."""
        self.unknown.append(node.name)
        return self._all_seen(node)

    def _all_seen(self, node: Node) -> list[Field | None]:
        whole = self._united_over(self._reads(node), None)
        return [
            None if kind is None else self._broadcast(whole, kind.shape)
            for kind in node.outputs
        ]

    def _united_over(self, reads: Sequence[Field], dims: Sequence[int] | None) -> Field:
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
                        _over(placed, over, len(shape)) for placed in field.axes
                    ),
                    channels=_over(field.channels, over, len(shape)),
                    gated=field.gated,
                )
            )
        field = found[0]
        for other in found[1:]:
            field = Field(
                shape=field.shape,
                axes=tuple(
                    _united(one, two)
                    for one, two in zip(field.axes, other.axes, strict=True)
                ),
                channels=_united(field.channels, other.channels),
                gated=field.gated or other.gated,
            )
        return field

    def _reduced(self, node: Node) -> list[Field | None]:
        """Sums and the like over dimensions."""
        field = self._reads(node)[0]
        dims = _dims(node, len(field.shape))
        whole = self._united_over([field], dims)
        return [
            None if kind is None else self._reshaped(whole, kind.shape, dims)
            for kind in node.outputs
        ]

    def _along(self, node: Node) -> list[Field | None]:
        """Every element of a dimension sees all of it: softmax, running sums."""
        field = self._reads(node)[0]
        dims = _dims(node, len(field.shape))
        whole = self._united_over([field], dims)
        return [
            None if kind is None else self._broadcast(whole, kind.shape)
            for kind in node.outputs
        ]

    def _normalised(self, node: Node) -> list[Field | None]:
        """Statistics scale: they are noted, as gates are."""
        field = self._reads(node)[0]
        fixed = "batch_norm" in node.op
        return [
            replace(field, gated=field.gated or not fixed)
            if kind is not None and kind.shape == field.shape
            else None
            for kind in node.outputs
        ]

    def _product(self, node: Node) -> Field | list[Field | None]:
        """x @ w: the last dimension is mixed; of two values also the one before."""
        reads = [ref for ref in node.inputs if ref in self.values]
        fields = [self.values[ref] for ref in reads]
        shape = node.output.shape
        if (
            node.op
            in (
                "aten.linear.default",
                "aten.addmm.default",
                "aten.mm.default",
                "aten.matmul.default",
                "aten.mv.default",
            )
            and len(fields) == 1
        ):
            names = [key for key, value in node.arguments.items() if value == reads[0]]
            second = names[0] in ("mat2", "other", "vec")
            if not second and len(fields[0].shape) == len(shape):
                mixed = self._united_over(fields, [-1])
                return self._broadcast(mixed, shape)
        if node.op in ("aten.bmm.default", "aten.matmul.default") and len(fields) == 2:
            first = self._united_over([fields[0]], [-1])
            second_field = self._united_over([fields[1]], [-2])
            if len(first.shape) == len(second_field.shape) == len(shape):
                wide = [self._broadcast(each, shape) for each in (first, second_field)]
                return self._pairwise(wide, shape)
        return self._everything(node)

    def _pairwise(self, wide: Sequence[Field], shape: tuple[int, ...]) -> Field:
        one, two = wide
        return Field(
            shape=shape,
            axes=tuple(_united(a, b) for a, b in zip(one.axes, two.axes, strict=True)),
            channels=_united(one.channels, two.channels),
            gated=one.gated or two.gated,
        )

    def _attention(self, node: Node) -> list[Field | None]:
        """Each output sees all keys and values beside it, and all queries."""
        reads = self._reads(node)
        whole = self._united_over(reads, [-2, -1])
        return [
            None if kind is None else self._broadcast(whole, kind.shape)
            for kind in node.outputs
        ]

    # ------------------------------------------------------------ windows

    def _convolved(self, node: Node) -> Field | list[Field | None]:
        field = self._argument(node, "input")
        weight = node.arguments["weight"]
        assert isinstance(weight, Ref)
        shape = self.graph.type_of(weight).shape
        rank = len(shape) - 2
        transposed = "transpose" in node.op or bool(node.arguments.get("transposed"))
        kernel = shape[2:]
        stride = _each(node, "stride", rank, 1)
        dilation = _each(node, "dilation", rank, 1)
        before = _before(node, kernel, dilation)
        groups = self._groups(node, field)
        axes = self._windowed(
            _grouped(field, groups, node.output.shape[1]), node.output.shape, kernel,
            stride, before, dilation, transposed=transposed,
        )  # fmt: skip
        channels = self._mixed(node, field, groups)
        if axes is None or channels is None:
            return self._everything(node)
        return Field(
            shape=node.output.shape, axes=axes, channels=channels, gated=field.gated
        )

    def _pooled(self, node: Node) -> Field | list[Field | None]:
        field = self._reads(node)[0]
        rank = int(node.op.split("pool")[1][0])
        shape = node.output.shape
        if "adaptive" in node.op:
            axes = self._adaptive(field, shape, rank)
        else:
            kernel = _each(node, "kernel_size", rank, 1)
            given = node.arguments.get("stride")
            stride = (
                _each(node, "stride", rank, 1) if given not in (None, ()) else kernel
            )
            axes = self._windowed(
                field, shape, kernel, stride, _each(node, "padding", rank, 0),
                _each(node, "dilation", rank, 1),
            )  # fmt: skip
        if axes is None:
            return self._everything(node)
        found = replace(field, shape=shape, axes=axes)
        return [found] * len(node.outputs)

    def _windowed(
        self,
        field: Field,
        shape: tuple[int, ...],
        kernel: Sequence[int],
        stride: Sequence[int],
        before: Sequence[int],
        dilation: Sequence[int],
        *,
        transposed: bool = False,
    ) -> tuple[Placed, ...] | None:
        """Return the axes after windows over the last dimensions."""
        rank, first = len(kernel), len(shape) - len(kernel)
        found = []
        for index, placed in enumerate(field.axes):
            dim = _dim_of(placed, index, len(field.axes), first, len(shape))
            if dim is None:
                return None
            number = dim - first
            if number < 0:
                found.append(placed)
                continue

            def made(axis: Axis, number: int = number) -> Axis:
                window = axis.spread if transposed else axis.window
                return window(
                    shape[first + number],
                    kernel=kernel[number],
                    stride=stride[number],
                    before=before[number],
                    dilation=dilation[number],
                )

            found.append(_by_lines(placed, dim, field.shape, made))
        return tuple(found)

    def _adaptive(
        self, field: Field, shape: tuple[int, ...], rank: int
    ) -> tuple[Placed, ...] | None:
        first = len(shape) - rank
        found = []
        for index, placed in enumerate(field.axes):
            dim = _dim_of(placed, index, len(field.axes), first, len(shape))
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
                grown = round((longest - 1) * float(axis.jump))
                return replace(seen, least=axis.least + grown)

            found.append(_by_lines(placed, dim, field.shape, made))
        return tuple(found)

    def _groups(self, node: Node, field: Field) -> list[Labels]:
        """Return the input channels that the outputs of a convolution see, in turn."""
        inputs = np.arange(field.shape[1], dtype=np.int64)
        windows = self.windows.get(node.module)
        if windows is not None and len(windows) == node.output.shape[1]:
            return [inputs[list(each)] for each in windows]
        given = node.arguments.get("groups", 1)
        count = given if isinstance(given, int) and len(inputs) % given == 0 else 1
        return np.split(inputs, count)

    def _mixed(
        self, node: Node, field: Field, groups: Sequence[Labels]
    ) -> Placed | None:
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
        return Placed(_narrowed(found), Rows(tuple(sets)))

    # ------------------------------------------------------------ other sizes

    def _resampled(self, node: Node) -> Field | list[Field | None]:
        """Nearest, linear, cubic: what the weights of an output reach."""
        field = self._reads(node)[0]
        shape = node.output.shape
        reach = {"nearest": (0, 0), "bicubic": (-1, 2)}
        low, high = next((v for k, v in reach.items() if k in node.op), (0, 1))
        rank = len(shape) - 2
        corners = bool(node.arguments.get("align_corners"))
        found = []
        for index, placed in enumerate(field.axes):
            dim = _dim_of(placed, index, len(field.axes), 2, rank + 2)
            if dim is None or "grid" in node.op:
                return self._everything(node)
            size, count = field.shape[dim], shape[dim]
            at = np.arange(count)
            if "nearest" in node.op:
                start = at * size // count
            elif corners and count > 1:
                start = np.floor(at * (size - 1) / (count - 1)).astype(np.int64)
            else:
                middle = (at + 0.5) * size / count - 0.5
                start = np.floor(np.maximum(middle, 0)).astype(np.int64)
            taps = np.clip(start[:, None] + np.arange(low, high + 1), 0, size - 1)

            def made(
                axis: Axis, taps: Labels = taps, ratio: Fraction = Fraction(size, count)
            ) -> Axis:
                return axis.seen(taps, axis.jump * ratio)

            found.append(_by_lines(placed, dim, field.shape, made))
        return replace(field, shape=shape, axes=tuple(found))

    def _padded(self, node: Node) -> Field | list[Field | None]:
        """Zeros around an image: positions that see nothing of it."""
        field = self._reads(node)[0]
        given = node.arguments.get("pad") or node.arguments.get("padding")
        mode = node.arguments.get("mode", "constant")
        if not isinstance(given, tuple) or mode != "constant":
            return self._moved(node)
        amounts = [each for each in given if isinstance(each, int)]
        rank = len(field.shape)
        before = {
            rank - 1 - each // 2: amounts[each] for each in range(0, len(amounts), 2)
        }
        if any(len(placed.along()) > 1 for placed in field.axes):
            return self._moved(node)
        spatial = {each for placed in field.axes for each in placed.along()}
        if any(
            amounts[2 * (rank - 1 - dim)] or amounts[2 * (rank - 1 - dim) + 1]
            for dim in before
            if dim not in spatial
        ):
            return self._moved(node)
        axes = []
        for placed in field.axes:
            dims = placed.along()
            if not dims or dims[0] not in before:
                axes.append(placed)
                continue
            axis = _axis(placed).take(placed.labels.reshape(-1))
            count = node.output.shape[dims[0]]
            made = axis.window(count, kernel=1, before=before[dims[0]])
            axes.append(Placed(_along(rank, dims[0], count), made))
        return replace(field, shape=node.output.shape, axes=tuple(axes))

    # ------------------------------------------------------------ shapes

    def _broadcast(self, field: Field, shape: tuple[int, ...]) -> Field:
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

    def _reshaped(
        self, field: Field, shape: tuple[int, ...], dims: Sequence[int]
    ) -> Field:
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


# ---------------------------------------------------------------- labels


def _along(rank: int, dim: int, size: int) -> Labels:
    """Return labels 0, 1, 2 ... along one dimension."""
    return np.arange(size, dtype=np.int64).reshape(
        tuple(size if each == dim else 1 for each in range(rank))
    )


def _axis(placed: Placed) -> Axis:
    assert isinstance(placed.table, Axis)
    return placed.table


def _part(field: Field, number: int) -> Placed:
    """Return an axis, or behind them the channels."""
    return field.axes[number] if number < len(field.axes) else field.channels


def _narrowed(labels: Labels) -> Labels:
    """Return labels with dimensions along which they do not differ of size one."""
    for dim, size in enumerate(labels.shape):
        if size > 1:
            one = labels.take([0], dim)
            if np.array_equal(np.broadcast_to(one, labels.shape), labels):
                labels = one
    return labels


def _packed(result: torch.Tensor, table: Axis | Rows) -> Placed:
    """Return labels that an operator has moved."""
    for dim, (size, stride) in enumerate(
        zip(result.shape, result.stride(), strict=True)
    ):
        if size > 1 and stride == 0:  # expanded: no need to compare
            result = result.narrow(dim, 0, 1)
    labels = _narrowed(np.ascontiguousarray(result.numpy()))
    if labels.size and labels.min() < 0:
        # Elements that see nothing.
        table, empty = _with_nothing(table)
        labels = np.where(labels < 0, empty, labels)
    return Placed(labels, table)


def _with_nothing(table: Axis | Rows) -> tuple[Axis | Rows, int]:
    if isinstance(table, Rows):
        return Rows((*table.bits, 0)), len(table)
    tables, offsets = _stacked([table, Axis.of_nothing(table.pixels)])
    assert isinstance(tables, Axis)
    return replace(tables, jump=table.jump, least=table.least), offsets[1]


def _stacked(
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
        ),
        offsets,
    )


def _united(one: Placed, two: Placed) -> Placed:
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
    return Placed(_narrowed(labels.reshape(shape)), table)


def _over(placed: Placed, dims: set[int], rank: int) -> Placed:
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
        assert isinstance(table, Axis)
        table = replace(table, least=max(placed.table.least, table.size))
    else:
        bits = placed.table.bits
        table = Rows(tuple(bits[each] for each in places.tolist())).together(
            groups, len(flat)
        )
    shape = tuple(1 if each in dims else size for each, size in enumerate(labels.shape))
    found = np.arange(len(flat), dtype=np.int64).reshape(shape)
    return Placed(found.reshape((1,) * rank) if found.size == 1 else found, table)


def _dim_of(
    placed: Placed, number: int, axes: int, first: int, rank: int
) -> int | None:
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


def _by_lines(
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
    kinds, which = np.unique(lines, axis=0, return_inverse=True)
    axis = _axis(placed)
    tables = [made(axis.take(each)) for each in kinds]
    if len(tables) == 1:
        return Placed(_along(len(shape), dim, len(tables[0])), tables[0])
    table, offsets = _stacked(tables)
    count = len(tables[0])
    found = np.array(offsets)[which.reshape(others)][..., None] + np.arange(count)
    return Placed(np.moveaxis(found, -1, dim), table)


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
        parts, of_group = [], []
        for each in groups:
            key = tuple(np.unique(which[each]).tolist())
            if key not in seen:
                seen[key] = len(parts)
                some = Placed(kinds[:, list(key)], placed.table)
                parts.append(_over(some, {1}, some.labels.ndim))
            of_group.append(seen[key])
        if len(parts) == 1:
            return parts[0]
        table, offsets = _stacked([each.table for each in parts])
        every = np.concatenate(
            [each.labels + offset for each, offset in zip(parts, offsets, strict=True)],
            axis=1,
        )
        repeated = np.repeat(of_group, max(1, outputs // len(of_group)))
        return Placed(_narrowed(every[:, repeated]), table)

    return replace(field, axes=tuple(map(united, field.axes)))


def _gated(reads: Sequence[Field]) -> Field | None:
    """Return the value that others only scale, None where there is none."""
    places = [bool(each.spatial) for each in reads]
    if sum(places) != 1:
        return None
    others = [each for each, has in zip(reads, places, strict=True) if not has]
    whole = all(
        each.axis(number).is_whole
        for each in others
        for number in range(len(each.axes))
    )
    return reads[places.index(True)] if whole else None


# ---------------------------------------------------------------- arguments


def _multiplies(op: str) -> bool:
    return op.split(".")[1] in ("mul", "div")


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


def _dims(node: Node, rank: int) -> tuple[int, ...]:
    given = node.arguments.get("dim")
    numbers = given if isinstance(given, tuple) else (given,)
    found = tuple(
        each % rank
        for each in numbers
        if isinstance(each, int) and not isinstance(each, bool)
    )
    return found or tuple(range(rank))


def _padded_with_nothing(node: Node) -> Node:
    """Return the node with the number it pads or fills with a label of nothing."""
    arguments = dict(node.arguments)
    if "pad" in node.op and "value" in arguments:
        from trimtab.frozen import FrozenDict

        return replace(node, arguments=FrozenDict({**arguments, "value": -1}))
    return node


_IDENTITIES = {
    "aten.clone.default", "aten.contiguous.default", "aten.to.dtype",
    "aten.to.device", "aten.to.dtype_layout", "aten._to_copy.default",
    "aten.detach.default", "aten.alias.default", "aten.dropout.default",
    "aten.feature_dropout.default", "aten.alpha_dropout.default",
    "aten.type_as.default", "aten.to.other", "aten.lift_fresh_copy.default",
}  # fmt: skip
_RESHAPING = {
    "aten.view.default", "aten.view_as.default", "aten.unflatten.int",
    "aten._unsafe_view.default",
}  # fmt: skip
_RESIZING = {Family.CONVOLUTION, Family.POOL, Family.RESAMPLE, Family.MOVE}
_P = _Propagation
_FAMILIES: Mapping[
    Family, Callable[[_Propagation, Node], Field | list[Field | None] | None]
] = {
    Family.CONVOLUTION: _P._convolved,
    Family.POOL: _P._pooled,
    Family.ELEMENTWISE: _P._joined,
    Family.NORM: _P._normalised,
    Family.SOFTMAX: _P._along,
    Family.REDUCTION: _P._reduced,
    Family.RESAMPLE: _P._resampled,
    Family.MATMUL: _P._product,
    Family.ATTENTION: _P._attention,
    Family.MOVE: _P._moved,
    Family.VIEW: _P._moved,
}
_RULES: Mapping[
    str, Callable[[_Propagation, Node], Field | list[Field | None] | None]
] = {
    "aten.pad.default": _P._padded,
    "aten.constant_pad_nd.default": _P._padded,
    "aten.glu.default": _P._everything,
    "aten.cumsum.default": _P._along,
    "aten.cumprod.default": _P._along,
    "aten.sort.default": _P._along,
    "aten.gather.default": _P._everything,
    "aten.linalg_vector_norm.default": _P._reduced,
}
