"""What a Winograd schedule consists of: the knobs, the parts they cut, the memory.

Pure arithmetic that the kernel, the packing of weights and the cost share, so that they
agree. See `trimtab.compiler.spaces.winograd` for the algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self, final

from trimtab.compiler.layout import Halo, Layout
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.errors import UsageError

__all__ = [
    "LINE",
    "Chunk",
    "Plan",
    "Point",
    "Segment",
    "check",
    "plain",
    "refusal",
    "required_halo",
]

LINE = 16
"""Float32 elements of a cache line of 64 bytes."""


class Point(NamedTuple):
    """One schedule.

    Attributes:
        tile: outputs of a tile in a row, 2 or 4.
        block: tiles that are taken through all stages together.
        rows: tiles in the register tile.
        vectors: of output channels in the register tile.
        unroll: input channels unrolled in the innermost loop.
        chunk: groups of `vectors` whose products are made before they are transformed.
        prefetch: whether the next part of the weights is asked for.
        split: what threads part: "tiles", each with a V of its own, or "channels", with
            all tiles in one block.
    """

    tile: int
    block: int
    rows: int
    vectors: int
    unroll: int = 8
    chunk: int = 2
    prefetch: bool = False
    split: str = "tiles"


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """Equal steps along channels.

    Attributes:
        count: of steps.
        start: first channel, in a chunk counted from its start.
        step: vectors of a step.
        lanes: channels of a vector.
    """

    count: int
    start: int
    step: int
    lanes: int


@final
@dataclass(frozen=True, slots=True)
class Chunk:
    """Equal chunks of output channels.

    Attributes:
        count: of chunks.
        start: first channel of the first.
        groups: what one consists of.
    """

    count: int
    start: int
    groups: tuple[Segment, ...]

    @property
    def channels(self) -> int:
        """Output channels of one chunk."""
        return sum(each.count * each.step * each.lanes for each in self.groups)

    @property
    def vectors(self) -> int:
        """Vectors of one chunk, an incomplete one counted whole."""
        return sum(each.count * each.step for each in self.groups)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A schedule applied to a convolution.

    Attributes:
        positions: products of a tile, 16 or 36.
        down: tiles in a column of an image.
        across: tiles in a row.
        tiles: of all samples.
        block: tiles of a block; the last one may have fewer.
        inputs: the input channels in vectors.
        chunks: the output channels.
        weight_elements: of U.
        v_stride: elements from position to position in V.
        m_stride: the same in M.
        shared: whether threads share V.
        copies: of M, and of V unless it is shared.

    Strides are odd numbers of cache lines: the positions of a tile, which are read and
    written together, would else meet in a few sets of the cache.
    """

    positions: int
    down: int
    across: int
    tiles: int
    block: int
    inputs: tuple[Segment, ...]
    chunks: tuple[Chunk, ...]
    weight_elements: int
    v_stride: int
    m_stride: int
    shared: bool
    copies: int

    @classmethod
    def of(cls, work: Contraction, point: Point, *, lanes: int, threads: int) -> Self:
        """Return the plan of a point.

        Args:
            work: what to compute.
            point: the schedule.
            lanes: float32 elements of a vector.
            threads: that run it.
        """
        samples, outputs, height, width = work.output.shape
        inputs = work.input.shape[1]
        positions = (point.tile + 2) ** 2
        down, across = -(-height // point.tile), -(-width // point.tile)
        tiles = samples * down * across
        shared = threads > 1 and point.split == "channels"
        block = tiles if shared else min(point.block, tiles)
        full, rest = divmod(inputs, lanes)
        chunks = _chunks(outputs, point, lanes)
        return cls(
            positions=positions,
            down=down,
            across=across,
            tiles=tiles,
            block=block,
            inputs=tuple(
                each
                for each in (
                    Segment(full, 0, 1, lanes),
                    Segment(1, full * lanes, 1, rest),
                )
                if each.count and each.lanes
            ),
            chunks=chunks,
            weight_elements=positions * inputs * outputs,
            v_stride=_odd_lines(inputs * block),
            m_stride=_odd_lines(max(c.vectors for c in chunks) * lanes * block),
            shared=shared,
            copies=threads,
        )

    @property
    def blocks(self) -> int:
        """Blocks of tiles."""
        return -(-self.tiles // self.block)

    @property
    def v_elements(self) -> int:
        """Elements of one V."""
        return self.positions * self.v_stride

    @property
    def m_elements(self) -> int:
        """Elements of one M."""
        return self.positions * self.m_stride

    @property
    def slice_elements(self) -> int:
        """Elements of V and M of one thread, unless V is shared."""
        return self.v_elements + self.m_elements

    @property
    def scratch_elements(self) -> int:
        """Float32 elements of the scratch buffer."""
        if self.shared:
            return self.v_elements + self.copies * self.m_elements
        return self.copies * self.slice_elements


def refusal(work: Contraction, lanes: int) -> str | None:
    """Return why the family has no kernel for some work, or None where it has.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
    """
    if work.kernel != (3, 3):
        return f"its window is {work.kernel[0]}x{work.kernel[1]}, not 3x3"
    if work.stride != (1, 1):
        return f"its stride is {work.stride[0]}x{work.stride[1]}, not 1x1"
    if work.dilation != (1, 1):
        return f"its dilation is {work.dilation[0]}x{work.dilation[1]}, not 1x1"
    if work.groups != 1:
        return f"it has {work.groups} groups"
    if work.weight is not None:
        return "its weight is no constant"
    for what, layout in (("input", work.input), ("output", work.output)):
        if not _in_vectors(plain(layout), lanes):
            return f"channels of its {what} do not lie together"
    for index, layout in enumerate(work.operands):
        near = plain(layout)
        if near.axis is not None and not _in_vectors(near, lanes):
            return f"channels of operand {index} do not lie together"
    return None


def required_halo(work: Contraction, tile: int) -> Halo:
    """Return the zeros around the input that the tiles read.

    Args:
        work: what to compute.
        tile: outputs of a tile in a row.

    Example: seven rows of output, padded by one, in two tiles of four read ten rows of
    input: one above, the seven, two below.
    """
    (top, left), (_, _, height, width) = work.padding, work.input.shape
    _, _, rows, columns = work.output.shape
    below = -(-rows // tile) * tile + 2 - top - height
    right = -(-columns // tile) * tile + 2 - left - width
    return (top, max(below, 0), left, max(right, 0))


def check(work: Contraction, point: Point, lanes: int) -> None:
    """Raise an error unless a kernel can be written.

    Raises:
        UsageError: the family has none for the work, or the halo is too small.
    """
    reason = refusal(work, lanes)
    if reason is not None:
        raise UsageError(
            "a Winograd convolution",
            rule=reason,
            where="work",
            remedy="take the family of contractions",
        )
    need = required_halo(work, point.tile)
    if any(have < want for have, want in zip(work.input.halo, need, strict=True)):
        raise UsageError(
            f"a Winograd convolution of an input with halo {work.input.halo}",
            rule=f"tiles of {point.tile}x{point.tile} outputs read {need}",
            where="work.input",
            remedy="give the input the halo that required_halo returns",
        )


def plain(layout: Layout) -> Layout:
    """Return a layout with all channels in one block as one without blocks."""
    if layout.axis == 1 and layout.block == layout.shape[1]:
        sample, _, row, column = layout.strides
        return replace(layout, axis=None, block=1, strides=(sample, 1, row, column))
    return layout


def _in_vectors(layout: Layout, lanes: int) -> bool:
    if layout.axis == 1:
        return layout.block % lanes == 0
    return layout.axis is None and layout.strides[1] == 1


def _chunks(channels: int, point: Point, lanes: int) -> tuple[Chunk, ...]:
    """Return how output channels are covered: whole chunks, and what is left."""
    full, rest = divmod(channels, lanes)
    vectors = min(point.vectors, max(full, 1))
    groups, left = divmod(full, vectors)
    size = min(point.chunk, max(groups, 1))
    count, over = divmod(groups, size)
    parts = (
        Segment(over, 0, vectors, lanes),
        Segment(1 if left else 0, over * vectors * lanes, left, lanes),
        Segment(1 if rest else 0, (over * vectors + left) * lanes, 1, rest),
    )
    tail = tuple(each for each in parts if each.count)
    found = [Chunk(count, 0, (Segment(size, 0, vectors, lanes),))] if count else []
    if tail:
        found.append(Chunk(1, count * size * vectors * lanes, tail))
    return tuple(found)


def _odd_lines(elements: int) -> int:
    lines = -(-elements // LINE)
    return (lines | 1) * LINE
