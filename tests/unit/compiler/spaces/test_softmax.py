"""Softmax against PyTorch in float64."""

import math

import pytest
import torch

from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.spaces.softmax import Softmax, kernel, points

LANES = 8


def _check(work, x, check, threads=1) -> None:
    function = torch.log_softmax if work.logarithm else torch.softmax
    found = points(work, lanes=LANES, threads=threads)
    kernels = [
        kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(dict.fromkeys((found[0], found[1], found[-1])))
    ]
    call = check.compile_all(kernels)
    for each in kernels:
        inputs = (check.scatter(x, work.input, 1e6),)
        result = check.called(call, each.name, inputs, work.output)
        check.close(result, function(x.double(), work.axis))


@pytest.mark.parametrize("logarithm", [True, False])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 77), 1), ((2, 4, 300), -1), ((2, 21, 30), 1), ((40, 8), 1), ((3, 1), 1),
     ((9, 13), 0), ((2, 3, 4, 5, 6), 2)],
)  # fmt: skip
def test_along_any_axis(shape, axis, logarithm, check) -> None:
    layout = row_major(shape)
    work = Softmax(input=layout, output=layout, axis=axis, logarithm=logarithm)
    _check(work, torch.randn(shape) * 5, check, threads=1 if logarithm else 2)


def test_layouts(check) -> None:
    shape = (2, 16, 5, 6)
    halo = packed(shape, block=8, halo=(1, 1, 1, 1))
    for axis in (1, 3):
        work = Softmax(input=halo, output=packed(shape, block=8), axis=axis)
        _check(work, torch.randn(shape), check)
    turned = Layout(shape=(8, 30), strides=(1, 8), size=240)
    _check(
        Softmax(input=turned, output=row_major((8, 30)), axis=1),
        torch.randn(8, 30),
        check,
    )


def test_large_and_excluded_elements(check) -> None:
    x = torch.randn(6, 40)
    x[0] += 1e4
    x[1, 5:] = -math.inf
    x[2] = -math.inf  # nothing is left: not a number, as in PyTorch
    x[3, 3] = math.nan
    layout = row_major((6, 40))
    _check(Softmax(input=layout, output=layout, axis=1), x, check)


def test_what_it_asks_for() -> None:
    layout = row_major((4, 32))
    work = Softmax(input=layout, output=layout, axis=1)
    assert work.flops == 4 * 32 * (17 + 4)
    assert work.read_bytes == work.write_bytes == 4 * 4 * 32
