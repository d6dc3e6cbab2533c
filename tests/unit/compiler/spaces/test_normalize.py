"""Normalisations against PyTorch in float64."""

import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.formula import Formula, slot
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.loops import maximum
from trimtab.compiler.spaces.normalize import Normalize, kernel, points

LANES = 8


def _check(work, x, check, expected, others=(), threads=1) -> None:
    found = points(work, lanes=LANES, threads=threads)
    kernels = [
        kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(dict.fromkeys((found[0], found[1], found[-1])))
    ]
    call = check.compile_all(kernels)
    for each in kernels:
        inputs = (check.scatter(x, work.input, 1e6), *others)
        check.close(check.called(call, each.name, inputs, work.output), expected)


@pytest.mark.parametrize("shape", [(3, 5, 77), (20, 512), (7, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, affine, check) -> None:
    size = shape[-1]
    x, weight, bias = torch.randn(shape) * 3 + 5, torch.randn(size), torch.randn(size)
    layout = row_major((size,)) if affine else None
    work = Normalize(
        input=row_major(shape),
        output=row_major(shape),
        axes=(len(shape) - 1,),
        eps=1e-5,
        weight=layout,
        bias=layout,
    )
    expected = F.layer_norm(x.double(), (size,), eps=1e-5)
    if affine:
        expected = expected * weight + bias
    _check(work, x, check, expected, (weight, bias) if affine else ())


def test_layer_norm_over_several_axes_and_a_residual(check) -> None:
    shape = (4, 6, 10)
    x, residual = torch.randn(shape), torch.randn(shape)
    weight, bias = torch.randn(6, 10), torch.randn(6, 10)
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) + slot(1))
    work = Normalize(
        input=row_major(shape),
        output=row_major(shape),
        axes=(1, 2),
        eps=1e-3,
        weight=row_major((6, 10)),
        bias=row_major((6, 10)),
        formula=formula.then(lambda x: maximum(0.0, x)),
        operands=(row_major(shape),),
    )
    normal = F.layer_norm(x.double(), (6, 10), weight.double(), bias.double(), 1e-3)
    others = (weight.view(-1), bias.view(-1), residual.view(-1))
    _check(work, x, check, (normal + residual).relu(), others, threads=2)


def test_rms_norm(check) -> None:
    x, weight = torch.randn(9, 70), torch.randn(70)
    work = Normalize(
        input=row_major((9, 70)),
        output=row_major((9, 70)),
        axes=(1,),
        eps=1e-6,
        centered=False,
        weight=row_major((70,)),
    )
    expected = F.rms_norm(x.double(), (70,), weight.double(), 1e-6)
    _check(work, x, check, expected, (weight,))


@pytest.mark.parametrize("groups", [1, 2, 4, 16])
@pytest.mark.parametrize("layout", ["rows", "blocks", "last"])
def test_group_norm(groups, layout, check) -> None:
    shape = (2, 16, 5, 6)
    x, weight, bias = torch.randn(shape) + 2, torch.randn(16), torch.randn(16)
    block = {"blocks": 8, "last": 16}.get(layout, 0)
    place = packed(shape, block=block, halo=(1, 1, 1, 1)) if block else row_major(shape)
    channel = row_major((16, 1, 1))
    work = Normalize(
        input=place,
        output=place,
        axes=(1, 2, 3),
        groups=groups,
        eps=1e-5,
        weight=channel,
        bias=channel,
    )
    expected = F.group_norm(x.double(), groups, weight.double(), bias.double(), 1e-5)
    _check(work, x, check, expected, (weight, bias))


def test_instance_norm(check) -> None:
    shape = (2, 16, 5, 6)
    x = torch.randn(shape)
    work = Normalize(
        input=packed(shape, block=8), output=row_major(shape), axes=(2, 3), eps=1e-5
    )
    _check(work, x, check, F.instance_norm(x.double()))


def test_a_large_mean_loses_nothing(check) -> None:
    x = torch.randn(4, 64) + 1000
    work = Normalize(
        input=row_major((4, 64)), output=row_major((4, 64)), axes=(1,), eps=1e-5
    )
    written = kernel(
        work, points(work, lanes=LANES, threads=1)[0], lanes=LANES, threads=1, name="k"
    )
    found = check.run(written, (x.view(-1),), work.output)
    # The mean of numbers near 1000 is off by about 1000 * 2**-24, differences too.
    check.close(found, F.layer_norm(x.double(), (64,)), 1000 * 2.0**-23)


def test_what_it_asks_for() -> None:
    shape = (4, 32)
    work = Normalize(
        input=row_major(shape),
        output=row_major(shape),
        axes=(1,),
        eps=1e-5,
        weight=row_major((32,)),
        bias=row_major((32,)),
    )
    assert work.flops == 4 * 32 * (6 + 2)
    assert work.read_bytes == 4 * (4 * 32 + 2 * 32)
    assert work.write_bytes == 4 * 4 * 32
    plain = Normalize(
        input=row_major(shape), output=row_major(shape), axes=(1,), eps=0.0,
        centered=False,
    )  # fmt: skip
    assert plain.flops == 4 * 32 * 3
