"""Attention against PyTorch in float64."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.loops import Kind, Loop, walk
from trimtab.compiler.spaces.attention import Attention, Point, kernel, points

LANES = 8


def _heads_inside(shape) -> Layout:
    """Return the layout of (B, H, L, D) whose memory is (B, L, H, D)."""
    _, heads, length, depth = shape
    return Layout(
        shape=shape,
        strides=(length * heads * depth, depth, heads * depth, 1),
        size=math.prod(shape),
    )


def _expected(tensors, mask=None, causal=False, scale=None):
    q, k, v = tensors
    if k.shape[1] != q.shape[1]:
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.double()
    return F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), mask, is_causal=causal, scale=scale
    )


def _case(shape, columns=None, width=None, groups=None, layout=row_major) -> Any:
    batch, heads, length, depth = shape
    columns, width, groups = columns or length, width or depth, groups or heads
    q = torch.randn(shape)
    k = torch.randn(batch, groups, columns, depth)
    v = torch.randn(batch, groups, columns, width)
    layouts = {
        "query": layout(tuple(q.shape)),
        "key": layout(tuple(k.shape)),
        "value": layout(tuple(v.shape)),
        "output": layout((batch, heads, length, width)),
    }
    return (q, k, v), layouts


def _check(
    work, tensors, check, expected, point=None, threads=1, lanes=LANES, limit=1e-5
) -> None:
    layouts = (work.query, work.key, work.value, work.mask)
    inputs = [
        check.scatter(tensor, layout, 1e3)
        for tensor, layout in zip(tensors[:3], layouts, strict=False)
    ]
    inputs += [mask.reshape(-1) for mask in tensors[3:]]
    point = point or points(work, lanes=lanes, threads=threads)[0]
    written = kernel(work, point, lanes=lanes, threads=threads, name="k")
    check.close(check.run(written, inputs, work.output), expected, limit)


SMALL = Point(rows=4, vectors=2, row_block=12, column_block=16)


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ((1, 2, 32, 16), {}),
        ((2, 3, 29, 20), {"columns": 37, "width": 13}),
        ((1, 1, 1, 8), {"columns": 50}),
        ((1, 4, 10, 8), {"groups": 2}),
        ((1, 2, 3, 4), {"columns": 1}),
    ],
)
@pytest.mark.parametrize("point", [None, SMALL])
def test_shapes_and_blocks(shape, more, point, check) -> None:
    tensors, layouts = _case(shape, **more)
    _check(Attention(**layouts), tensors, check, _expected(tensors), point)


@pytest.mark.parametrize("columns", [20, 33])
@pytest.mark.parametrize("point", [None, SMALL])
def test_causal(columns, point, check) -> None:
    tensors, layouts = _case((1, 2, 27, 16), columns=columns)
    expected = _expected(tensors, causal=True)
    _check(Attention(**layouts, causal=True), tensors, check, expected, point)


def test_strided_views_in_parallel(check) -> None:
    tensors, layouts = _case((2, 2, 20, 16), layout=_heads_inside)
    work = Attention(**layouts, scale=0.3)
    _check(work, tensors, check, _expected(tensors, scale=0.3), threads=2, lanes=4)


@pytest.mark.parametrize("shape", [(19, 21), (1, 1, 1, 21), (2, 3, 19, 21)])
def test_a_mask_that_is_added(shape, check) -> None:
    tensors, layouts = _case((2, 3, 19, 16), columns=21)
    mask = torch.randn(shape)
    mask[..., 5:7] = -math.inf
    layout = row_major(shape).broadcast((2, 3, 19, 21))
    work = Attention(**layouts, mask=layout)
    _check(work, (*tensors, mask), check, _expected(tensors, mask))


def test_a_mask_that_chooses_and_a_row_without_columns(check) -> None:
    tensors, layouts = _case((1, 2, 12, 8), columns=21)
    mask = torch.rand(12, 21) > 0.4
    mask[3] = False
    mask[4] = False
    mask[4, 20] = True
    layout = row_major((12, 21)).broadcast((1, 2, 12, 21))
    work = Attention(**layouts, mask=layout, boolean=True)
    expected = _expected(tensors, mask).nan_to_num(0.0)
    for point in (None, SMALL):
        _check(work, (*tensors, mask.view(torch.uint8)), check, expected, point)
    assert torch.equal(expected[:, :, 3], torch.zeros(1, 2, 8).double())


def test_the_lowest_number_as_a_mask(check) -> None:
    tensors, layouts = _case((1, 1, 4, 8), columns=16)
    mask = torch.zeros(4, 16)
    mask[0] = mask[1, 3:] = torch.finfo(torch.float32).min
    work = Attention(**layouts, mask=row_major((4, 16)).broadcast((1, 1, 4, 16)))
    # Float64 would see the scores behind the lowest float32.
    q, k, v = tensors
    expected = F.scaled_dot_product_attention(q, k, v, mask)
    _check(work, (*tensors, mask), check, expected)


def test_large_scores(check) -> None:
    tensors, layouts = _case((1, 1, 8, 8), columns=40)
    tensors = (tensors[0] * 300, *tensors[1:])
    work = Attention(**layouts)
    # Scores near 1000 are off by 1000 * 2**-24, their exponentials as much.
    _check(work, tensors, check, _expected(tensors), limit=1000 * 2.0**-22)


def test_what_it_asks_for() -> None:
    _, layouts = _case((2, 3, 4, 8), columns=5, width=6)
    work = Attention(**layouts)
    scores = 2 * 3 * 4 * 5
    assert work.scores == scores
    assert work.flops == scores * (2 * 8 + 2 * 6 + 17 + 5)
    assert work.read_bytes == 4 * 2 * 3 * (4 * 8 + 5 * 8 + 5 * 6)
    assert work.write_bytes == 4 * 2 * 3 * 4 * 6
    assert work.factor == 8**-0.5
    causal = Attention(**layouts, causal=True)
    assert causal.scores == 2 * 3 * (1 + 2 + 3 + 4)
    mask = row_major((4, 5)).broadcast((2, 3, 4, 5))
    added = Attention(**layouts, mask=mask)
    assert added.read_bytes - work.read_bytes == 4 * 4 * 5
    chosen = Attention(**layouts, mask=mask, boolean=True)
    assert chosen.read_bytes - work.read_bytes == 4 * 5


def test_points() -> None:
    _, layouts = _case((1, 8, 128, 64))
    work = Attention(**layouts)
    found = points(work, lanes=LANES, threads=2)
    assert len(found) == len(set(found)) > 20
    assert found[0] == Point(4, 2, 128, 64, 2)
    for threads in (1, 2):
        written = kernel(work, found[0], lanes=LANES, threads=threads, name="k")
        kinds = {each.kind for each in walk(written.body) if isinstance(each, Loop)}
        assert (Kind.PARALLEL in kinds) == (threads == 2)
