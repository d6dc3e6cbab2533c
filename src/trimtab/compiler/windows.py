"""Operators that slide a window over images: what they read around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from trimtab.compiler.layout import Halo
from trimtab.compiler.ranks import insert_ones
from trimtab.graph.types import Argument, Graph, Node, Ref

__all__ = ["CONVOLUTIONS", "Window", "pair", "window_of"]

CONVOLUTIONS = (
    "aten.conv1d.default",
    "aten.conv1d.padding",
    "aten.conv2d.default",
    "aten.conv2d.padding",
    "aten.convolution.default",
)
"""Operators that may have a window."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The geometry of a convolution over ``(N, C, H, W)``.

    Attributes:
        source: what it reads.
        kernel: height and width.
        stride: along height and width.
        padding: zeros above and left.
        dilation: along height and width.
        groups: of channels.
        depthwise: whether each channel is by itself.
        halo: the zeros it reads around the image.
        output: height and width of the result.
        channels: of the source.
        added: axes of extent one that make source and result images.
    """

    source: Ref
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    depthwise: bool
    halo: Halo
    output: tuple[int, int]
    channels: int
    added: tuple[int, ...] = ()

    @property
    def winograd(self) -> bool:
        """Whether minimal filtering can compute it."""
        return (
            self.kernel == (3, 3)
            and self.stride == self.dilation == (1, 1)
            and self.groups == 1
        )

    def reach(self, tile: int) -> Halo:
        """Return the zeros read around the image in tiles of that many outputs."""
        top, bottom, left, right = self.halo
        height, width = self.output
        return (top, bottom + -height % tile, left, right + -width % tile)


def window_of(graph: Graph, node: Node) -> Window | None:
    """Return the window of a node, or None where it has none or not a plain one.

    A convolution along a line is one of height 1, a sample without a batch is a batch
    of 1.
    """
    if node.op not in CONVOLUTIONS:
        return None
    arguments = node.arguments
    source, weight = arguments["input"], arguments["weight"]
    if not isinstance(source, Ref) or not isinstance(weight, Ref):
        return None
    given, filters = graph.type_of(source).shape, graph.type_of(weight).shape
    if len(filters) not in (3, 4) or arguments.get("transposed"):
        return None
    line = len(filters) == 3
    added = (*(() if len(given) == len(filters) else (0,)), *((2,) if line else ()))
    if len(given) + len(added) != 4:
        return None
    shape, result = insert_ones(given, added), insert_ones(node.output.shape, added)
    kernel = (1, filters[2]) if line else (filters[2], filters[3])
    stride = _extents(arguments.get("stride", 1), 1, line=line)
    dilation = _extents(arguments.get("dilation", 1), 1, line=line)
    padding = arguments.get("padding", 0)
    if padding == "valid":
        before = (0, 0)
    elif padding == "same":
        before = (
            dilation[0] * (kernel[0] - 1) // 2,
            dilation[1] * (kernel[1] - 1) // 2,
        )
    else:
        before = _extents(padding, 0, line=line)
    groups = arguments.get("groups", 1)
    assert isinstance(groups, int)
    return Window(
        source=source,
        kernel=kernel,
        stride=stride,
        padding=before,
        dilation=dilation,
        groups=groups,
        depthwise=groups > 1 and groups == shape[1] == filters[0],
        halo=halo_of(shape, result, kernel, stride, before, dilation),
        output=(result[2], result[3]),
        channels=shape[1],
        added=added,
    )


def _extents(value: Argument, height: int, *, line: bool) -> tuple[int, int]:
    """Return an argument along height and width, that of a line along its width."""
    found = pair(value)
    return (height, found[1]) if line else found


def halo_of(
    shape: Sequence[int],
    output: Sequence[int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Halo:
    """Return the zeros around an image that a window reads.

    Example:
        >>> halo_of((1, 3, 8, 8), (1, 4, 4, 4), (3, 3), (2, 2), (1, 1), (1, 1))
        (1, 0, 1, 0)
    """
    ends = [
        max(0, (out - 1) * step + (size - 1) * spread + 1 - have - before)
        for out, step, size, spread, have, before in zip(
            output[2:], stride, kernel, dilation, shape[2:], padding, strict=True
        )
    ]
    return (padding[0], ends[0], padding[1], ends[1])


def pair(value: Argument) -> tuple[int, int]:
    """Return height and width of an argument that may give one number for both.

    Example:
        >>> pair(3), pair((1, 2)), pair((5,))
        ((3, 3), (1, 2), (5, 5))
    """
    if isinstance(value, tuple):
        first, last = value[0], value[-1]
        assert isinstance(first, int)
        assert isinstance(last, int)
        return (first, last)
    assert isinstance(value, int)
    return (value, value)
