"""Depthwise kernels against PyTorch in float64."""

import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.loops import Kind, Loop, maximum, walk
from trimtab.compiler.spaces.depthwise import (
    Depthwise,
    Point,
    kernel,
    pack_order,
    points,
)

LANES = 8


def _work(
    shape, window, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), block=8,
    multiplier=1, formula=IDENTITY, operands=0, bias=True,
):  # fmt: skip
    batch, channels, height, width = shape
    out = [
        (extent + 2 * pad - dil * (size - 1) - 1) // step + 1
        for extent, pad, dil, size, step in zip(
            (height, width), padding, dilation, window, stride, strict=True
        )
    ]
    (top, left), target = padding, (batch, channels * multiplier, *out)
    output = packed(target, block=block * multiplier, halo=(1, 0, 2, 1))
    return Depthwise(
        input=packed(shape, block=block, halo=(top, top, left, left)),
        output=output,
        kernel=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        formula=formula,
        operands=(output,) * operands,
        bias=bias,
    )


def _expected(work, x, weight, bias):
    return F.conv2d(
        x.double(), weight.double(), None if bias is None else bias.double(),
        work.stride, work.padding, work.dilation, x.shape[1],
    )  # fmt: skip


def _case(work, check):
    channels = work.output.shape[1]
    x = torch.randn(work.input.shape)
    weight = torch.randn(channels, 1, *work.kernel)
    bias = torch.randn(channels) if work.bias else None
    packed_weight = torch.cat(
        [
            weight[first : first + count, 0].permute(1, 2, 0).reshape(-1)
            for first, count in pack_order(work, LANES)
        ]
    )
    buffers = [check.scatter(x, work.input), packed_weight]
    buffers += [bias] if bias is not None else []
    return buffers, _expected(work, x, weight, bias)


CASES = {
    "plain": _work((1, 16, 7, 9), (3, 3), padding=(1, 1)),
    "stride": _work((2, 8, 9, 12), (3, 3), stride=(2, 2), padding=(1, 1)),
    "uneven": _work((1, 8, 10, 17), (5, 3), stride=(1, 2), padding=(2, 0)),
    "dilated": _work((1, 16, 12, 12), (3, 3), padding=(2, 2), dilation=(2, 2)),
    "large": _work((1, 8, 9, 9), (7, 7), padding=(3, 3), bias=False),
    "last": _work((2, 20, 6, 6), (3, 3), padding=(1, 1), block=20),
    "few": _work((1, 3, 6, 6), (3, 3), padding=(1, 1), block=3),
    "point": _work((1, 8, 5, 5), (1, 1)),
    "row": _work((3, 8, 1, 20), (1, 5), padding=(0, 2)),
    "double": _work((1, 8, 6, 7), (3, 3), padding=(1, 1), multiplier=2),
    "triple": _work((1, 4, 6, 6), (3, 3), block=4, multiplier=3),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_against_pytorch(name, check) -> None:
    work = CASES[name]
    buffers, expected = _case(work, check)
    found = points(work, lanes=LANES, threads=1)
    kernels = [
        kernel(work, point, lanes=LANES, threads=1, name=f"k{index}")
        for index, point in enumerate([found[0], found[len(found) // 2], found[-1]])
    ]
    call = check.compile_all(kernels)
    for each in kernels:
        check.close(check.called(call, each.name, buffers, work.output), expected)


@pytest.mark.parametrize(
    "point", [Point(1, 4, 3, "nchw", 2), Point(2, 3, 1, "nhwc", 3)]
)
def test_in_parallel(point, check) -> None:
    work = CASES["plain"]
    buffers, expected = _case(work, check)
    written = kernel(work, point, lanes=LANES, threads=2, name="k")
    kinds = [each.kind for each in written.body if isinstance(each, Loop)]
    assert set(kinds) == {Kind.PARALLEL}
    check.close(check.run(written, buffers, work.output), expected)
    serial = kernel(work, point, lanes=LANES, threads=1, name="k")
    kinds = [each.kind for each in walk(serial.body) if isinstance(each, Loop)]
    assert Kind.PARALLEL not in kinds


def test_residual_and_relu_from_plain_layouts(check) -> None:
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) + slot(1))
    formula = formula.then(lambda x: maximum(0.0, x))
    shape = (1, 16, 6, 6)
    work = Depthwise(
        input=row_major((1, 16, 8, 8)),
        output=row_major(shape),
        kernel=(3, 3),
        formula=formula,
        operands=(row_major((16, 1, 1)).broadcast(shape),),
    )
    buffers, expected = _case(work, check)
    other = torch.randn(16)
    point = points(work, lanes=LANES, threads=1)[0]
    written = kernel(work, point, lanes=LANES, threads=1, name="k")
    found = check.run(written, [*buffers, other], work.output)
    check.close(found, (expected + other.view(16, 1, 1)).relu())


def test_what_it_asks_for() -> None:
    work = _work((1, 16, 8, 8), (3, 3), padding=(1, 1), operands=1)
    count = 16 * 8 * 8
    assert work.flops == count * 2 * 9
    assert work.read_bytes == 4 * (count + 16 * (9 + 1) + count)
    assert work.write_bytes == 4 * count
    assert (work.taps, work.multiplier) == (9, 1)
    assert CASES["triple"].multiplier == 3


def test_order_of_the_weights() -> None:
    assert list(pack_order(CASES["last"], LANES)) == [(0, 8), (8, 8), (16, 4)]


def test_each_pixel_of_a_row_is_visited_once_for_all_sums() -> None:
    work = CASES["plain"]
    written = str(kernel(work, Point(1, 9, 3), lanes=LANES, threads=1, name="k"))
    # Bias, window and store of a tile of nine columns, seven rows one after another.
    assert written.count("acc") == 1 + 9 + 2 * 9 * 9 + 9
    visits = [line for line in written.splitlines() if "weight[" in line]
    assert len(visits) == 9 * 9


def test_points() -> None:
    found = points(_work((1, 16, 56, 56), (3, 3)), lanes=LANES, threads=1)
    assert len(found) == len(set(found)) > 100
    assert (found[0].rows, found[0].order) == (1, "nchw")
    assert all(point.rows * point.columns <= 16 for point in found)
    wide = points(CASES["last"], lanes=4, threads=2)
    assert wide[0].order == "nhwc"
    assert {point.fused for point in wide} >= {0, 2}
