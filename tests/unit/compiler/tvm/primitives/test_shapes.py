"""Views, pieces and padding put elements where PyTorch puts them."""

from __future__ import annotations

import pytest
import torch
from torch import arange, randn

pytest.importorskip("tvm", reason="needs the extra `compile`")

X = arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("permute.default", (X, [2, 0, 1])),
        ("permute.default", (X, [-1, 0, 1])),
        ("transpose.int", (X, 0, -1)),
        ("t.default", (X[0],)),
        ("numpy_T.default", (X,)),
        ("mT.default", (X,)),
        ("movedim.int", (X, 0, 2)),
        ("expand.default", (X[:, :1], [5, 2, 3, 4])),
        ("broadcast_to.default", (X[0, :1], [3, 4])),
        ("select.int", (X, 1, -1)),
        ("slice.Tensor", (X, 2, 1, 4, 2)),
        ("slice.Tensor", (X, 1, -2, 2**63 - 1)),
        ("narrow.default", (X, 2, 1, 2)),
        ("unbind.int", (X, 1)),
        ("chunk.default", (X, 2, 2)),
        ("split.Tensor", (X, 3, -1)),
        ("split_with_sizes.default", (X, [1, 3], 2)),
        ("tensor_split.indices", (X, [1, 2], 1)),
        ("diagonal.default", (X, 1, 1, 2)),
        ("diagonal.default", (X, -1, 0, 1)),
        ("unfold.default", (X, 2, 2, 1)),
        ("unflatten.int", (X, 2, [2, 2])),
        ("reshape.default", (X, [4, 6])),
        ("reshape.default", (X, [2, 12])),
        ("reshape.default", (X, [3, 2, 4])),
        ("flatten.using_ints", (X, 1, 2)),
        ("squeeze.dim", (X[:, :1], 1)),
        ("unsqueeze.default", (X, 1)),
        ("flip.default", (X, [0, 2])),
        ("roll.default", (X, [1, -2], [0, 2])),
        ("roll.default", (X, [5])),
        ("repeat.default", (X, [2, 1, 1, 3])),
        ("repeat_interleave.self_int", (X, 2, 1)),
        ("tile.default", (X, [2])),
        ("tril.default", (X, 1)),
        ("triu.default", (X, -1)),
        ("pixel_unshuffle.default", (randn(1, 2, 4, 6), 2)),
        ("channel_shuffle.default", (randn(1, 6, 2, 2), 3)),
        ("clone.default", (X,)),
        ("view_as.default", (X, X.reshape(6, 4))),
    ],
)
def test_elements_move(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments)


def test_coordinates(defaults) -> None:
    defaults.agrees("meshgrid.indexing", [X[0, 0], X[0, :, 0]], indexing="xy")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32])
def test_every_dtype_moves(defaults, dtype) -> None:
    defaults.agrees("permute.default", (X % 3).to(dtype), [2, 1, 0])


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("cat.default", ([X, X + 50, X[:, :1]], 1)),
        ("cat.default", ([X[0], X[0].float()], -1)),
        ("cat.default", ([X, X], 0)),
        ("stack.default", ([X, X + 50], 1)),
        ("stack.default", ([X, X + 50], -1)),
        ("slice_scatter.default", (X, X[:, :2] + 50, 1, 0, 2)),
        ("slice_scatter.default", (X, X[..., :2] + 50, 2, 0, 4, 2)),
        ("select_scatter.default", (X, X[:, 0] + 50, 1, -1)),
    ],
)
def test_pieces_are_joined(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("pad.default", (X, [1, 2], "constant", 7)),
        ("pad.default", (X, [1, 2, 0, 1], "constant")),
        ("pad.default", (X, [-1, 1], "constant")),
        ("constant_pad_nd.default", (X, [-1, -1, 2, 0], 3)),
        ("pad.default", (randn(1, 2, 5, 6), [1, 2, 2, 1], "reflect")),
        ("pad.default", (randn(1, 2, 5, 6), [1, 2, 2, 1], "replicate")),
        ("reflection_pad1d.default", (randn(2, 3, 6), [2, 1])),
        ("replication_pad2d.default", (randn(1, 2, 3, 4), [1, 2, 2, 1])),
    ],
)
def test_padding(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments)


def test_padding_reads_nothing_outside(defaults) -> None:
    # Sanitised by the allocator: what lies before and after is no part of the tensor.
    whole = torch.full((3, 4), float("nan"))
    defaults.agrees("constant_pad_nd.default", whole[1], [3, 3], 1.0)
