"""Sums, means, maxima and minima against PyTorch in float64."""

import math
from typing import Any, Literal, get_args

import pytest
import torch

from trimtab.compiler.formula import Formula, slot
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.loops import Kind, Loop, walk
from trimtab.compiler.spaces.reduce import Reduce, kernel, points

LANES = 8
FOLDS: dict[str, Any] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}
Kinds = Literal["max", "mean", "min", "sum"]
KINDS: tuple[Kinds, ...] = get_args(Kinds)
CASES = {
    "last": ((5, 77), (1,)),
    "long": ((3, 2, 300), (2,)),
    "first": ((9, 45), (0,)),
    "middle": ((3, 10, 20), (1,)),
    "image": ((2, 16, 7, 9), (2, 3)),
    "channels": ((2, 16, 5, 5), (1,)),
    "outer": ((4, 3, 6, 5), (0, 3)),
    "all": ((3, 4, 50), (0, 1, 2)),
    "five": ((2, 3, 4, 5, 6), (1, 3)),
    "short": ((40, 4), (1,)),
    "one": ((1, 1), (1,)),
}


def _kept(shape, axes):
    return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))


def _check(work, x, check, expected, others=(), threads=1) -> None:
    found = points(work, lanes=LANES, threads=threads)
    kernels = [
        kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(found)
    ]
    call = check.compile_all(kernels)
    for each in kernels:
        inputs = (check.scatter(x, work.input, 1e6), *others)
        check.close(check.called(call, each.name, inputs, work.output), expected)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_schedule(name, check) -> None:
    shape, axes = CASES[name]
    x = torch.randn(shape)
    kind = KINDS[sorted(CASES).index(name) % len(KINDS)]
    work = Reduce(
        input=row_major(shape),
        output=row_major(_kept(shape, axes)),
        axes=axes,
        kind=kind,
    )
    _check(work, x, check, FOLDS[kind](x.double(), axes, keepdim=True))


@pytest.mark.parametrize("kind", sorted(FOLDS))
def test_every_fold_of_a_packed_image(kind, check) -> None:
    shape = (2, 16, 5, 6)
    x = torch.randn(shape)
    work = Reduce(
        input=packed(shape, block=8, halo=(1, 1, 1, 1)),
        output=row_major((2, 16, 1, 1)),
        axes=(2, 3),
        kind=kind,
    )
    _check(work, x, check, FOLDS[kind](x.double(), (2, 3), keepdim=True), threads=2)


def test_a_strided_view_with_a_formula(check) -> None:
    layout = Layout(shape=(6, 10), strides=(3, 40), size=500, offset=7)
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) * slot(1))
    work = Reduce(
        input=layout,
        output=row_major((6, 1)),
        axes=(1,),
        kind="mean",
        formula=formula,
        operands=(row_major((6, 1)),),
    )
    x, scale = torch.randn(6, 10), torch.randn(6, 1)
    expected = x.double().mean(1, keepdim=True) * scale
    _check(work, x, check, expected, (scale.view(-1),))


@pytest.mark.parametrize("kind", ["max", "min"])
def test_not_a_number_wins(kind, check) -> None:
    x = torch.randn(16, 40)
    x[3, 0] = x[4, 39] = x[5, 17] = math.nan
    x[6, 2], x[7, 3] = math.inf, -math.inf
    work = Reduce(
        input=row_major((16, 40)), output=row_major((16, 1)), axes=(1,), kind=kind
    )
    _check(work, x, check, FOLDS[kind](x, (1,), keepdim=True))


def test_what_it_asks_for() -> None:
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) + slot(1))
    work = Reduce(
        input=row_major((6, 10)),
        output=row_major((6, 1)),
        axes=(1,),
        kind="sum",
        formula=formula,
        operands=(row_major((6, 1)),),
    )
    assert work.flops == 6 * 10 + 6
    assert work.read_bytes == 4 * (6 * 10 + 6)
    assert work.write_bytes == 4 * 6


def test_one_thread_has_no_parallel_loop() -> None:
    work = Reduce(
        input=row_major((64, 10)), output=row_major((64, 1)), axes=(1,), kind="sum"
    )
    for point in points(work, lanes=LANES, threads=2):
        for threads in (1, 2):
            written = kernel(work, point, lanes=LANES, threads=threads, name="k")
            kinds = {each.kind for each in walk(written.body) if isinstance(each, Loop)}
            assert (Kind.PARALLEL in kinds) == (threads == 2 and point.fused > 0)
