"""Contractions: machine code against PyTorch, loops step by step, parallel loops."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.loops import Kernel, Kind, Loop, Prefetch, maximum, walk
from trimtab.compiler.spaces.contraction import (
    Contraction,
    Point,
    channel_segments,
    input_block,
    kernel,
)
from trimtab.compiler.spaces.contraction_model import points

LANES = 8
ADD_RELU = (
    Formula(slots=2, steps=(), result=slot(0))
    .step(slot(0) + slot(1))
    .then(lambda x: maximum(0.0, x))
)


def convolution(
    shape, outputs, window=(1, 1), *, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
    groups=1, blocks=(None, None), bias=True, residual=False, halo=(1, 0, 0, 2),
):  # fmt: skip
    """Return a convolution; a block of None is all channels: channels last."""
    batch, channels, height, width = shape
    out = [
        (extent + 2 * pad - spread * (size - 1) - 1) // step + 1
        for extent, pad, spread, size, step in zip(
            (height, width), padding, dilation, window, stride, strict=True
        )
    ]
    (top, left), target = padding, (batch, outputs, *out)
    near, far = blocks[0] or channels, blocks[1] or outputs
    output = packed(target, block=far, halo=halo)
    return Contraction(
        input=packed(shape, block=near, halo=(top, top, left, left)),
        output=output,
        kernel=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        formula=ADD_RELU if residual else IDENTITY,
        operands=(output,) if residual else (),
        bias=bias,
    )


def product(batch, rows, depth, columns, *, packed_weight=True, residual=False):
    """Return ``x @ w``: a dense layer, or a product of computed matrices."""

    def samples(last: int) -> Layout:
        return Layout(
            shape=(batch, last, 1, rows),
            strides=(rows * last, 1, 0, last),
            size=batch * rows * last,
        )

    return Contraction(
        input=samples(depth),
        output=samples(columns),
        formula=ADD_RELU if residual else IDENTITY,
        operands=(samples(columns),) if residual else (),
        bias=packed_weight,
        weight=None if packed_weight else row_major((batch, depth, columns)),
    )


CASES: dict[str, Contraction] = {
    "plain": convolution((1, 16, 5, 6), 16, (3, 3), padding=(1, 1), blocks=(8, 8)),
    "residual": convolution(
        (2, 8, 4, 5), 24, (3, 3), padding=(1, 1), blocks=(8, 8), residual=True
    ),
    "stride": convolution(
        (1, 16, 9, 8), 8, (3, 3), stride=(2, 2), padding=(1, 1), blocks=(8, 8)
    ),
    "uneven": convolution(
        (1, 8, 7, 9), 16, (5, 2), stride=(1, 3), padding=(2, 0), blocks=(8, 8)
    ),
    "dilated": convolution(
        (2, 8, 9, 9), 16, (3, 3), padding=(2, 2), dilation=(2, 2), blocks=(8, 8)
    ),
    "groups": convolution((1, 32, 4, 5), 32, (3, 3), groups=2, blocks=(8, 8)),
    "small groups": convolution((2, 12, 4, 4), 20, (3, 3), groups=4, padding=(1, 1)),
    "ragged groups": convolution((1, 12, 4, 5), 40, (3, 3), groups=2, residual=True),
    "first": convolution(
        (1, 3, 9, 9), 16, (7, 7), stride=(2, 2), padding=(3, 3), blocks=(3, 8)
    ),
    "ragged": convolution((1, 12, 4, 5), 20, (3, 3), padding=(1, 1), bias=False),
    "one": convolution((1, 1, 5, 5), 1, (3, 3)),
    "nine": convolution((2, 9, 3, 3), 9, (1, 1), residual=True),
    "to planes": convolution((1, 8, 4, 4), 8, (1, 1), blocks=(8, 1)),
    "from planes": convolution((1, 8, 4, 4), 8, (3, 3), blocks=(1, 8)),
    "pixel": convolution((3, 16, 1, 1), 24, (1, 1), blocks=(8, 8), halo=(0, 0, 0, 0)),
    "dense": product(1, 3, 20, 33),
    "dense residual": product(1, 5, 8, 16, residual=True),
    "batched": product(3, 5, 7, 19, packed_weight=False),
    "batched residual": product(2, 4, 8, 16, packed_weight=False, residual=True),
    "outer": product(2, 3, 1, 9, packed_weight=False),
}


def some_points(work: Contraction, seed: int, many: int) -> list[Point]:
    """Return legal schedules from the whole space, small code first in doubt."""
    legal = points(work, lanes=LANES, threads=1)
    short = [p for p in legal if p.rows * p.columns * p.vectors * p.unroll <= 48]
    return random.Random(seed).sample(short, min(many, len(short)))


def arrays(work: Contraction) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return input, weight, bias and residual; and the result in float64."""
    x = torch.randn(work.input.shape)
    other = [torch.randn(each.shape) for each in work.operands]
    if work.weight is not None:
        w = torch.randn(work.weight.shape)
        y = torch.einsum("nkhw,nko->nohw", x.double(), w.double())
        bias = []
    else:
        outputs = work.output.shape[1]
        w = torch.randn(outputs, work.inputs_per_group, *work.kernel)
        bias = [torch.randn(outputs)] if work.bias else []
        y = F.conv2d(
            x.double(), w.double(), bias[0].double() if bias else None,
            work.stride, work.padding, work.dilation, work.groups,
        )  # fmt: skip
    for each in other:
        y = torch.relu(y + each)
    return [x, w, *bias, *other], [y]


def in_order(work: Contraction, weight: torch.Tensor, vectors: int) -> torch.Tensor:
    """Return a weight in the order that a schedule reads it, element by element."""
    size, outputs = input_block(work), work.outputs_per_group
    found = []
    for group in range(work.groups):
        for segment in channel_segments(outputs, work.depth, vectors, LANES):
            for index in range(segment.count):
                wide = segment.step * segment.lanes
                first = group * outputs + segment.start + index * wide
                part = weight[first : first + wide]
                found += [
                    part[:, c, k, column]
                    for start in range(0, work.inputs_per_group, size)
                    for k in range(work.kernel[0])
                    for column in range(work.kernel[1])
                    for c in range(start, start + size)
                ]
    return torch.cat(found)


def buffers(work: Contraction, given: list[torch.Tensor], point: Point, check: Any):
    x, w, *rest = given
    bias, other = (rest[:1], rest[1:]) if work.bias else ([], rest)
    weight = (
        check.scatter(w, work.weight)
        if work.weight is not None
        else in_order(work, w, point.vectors)
    )
    scattered = [
        check.scatter(each, layout)
        for each, layout in zip(other, work.operands, strict=True)
    ]
    return [check.scatter(x, work.input), weight, *bias, *scattered]


def test_kernels_compute_what_pytorch_does(check) -> None:
    chosen = {
        name: some_points(work, seed, 2)
        for seed, (name, work) in enumerate(CASES.items())
    }
    call = check.compile_all(
        [
            kernel(
                CASES[name], point, lanes=LANES, threads=1,
                name=f"{name.replace(' ', '_')}_{index}",
            )
            for name, some in chosen.items()
            for index, point in enumerate(some)
        ]
    )  # fmt: skip
    for name, some in chosen.items():
        work = CASES[name]
        given, (expected,) = arrays(work)
        for index, point in enumerate(some):
            found = check.called(
                call,
                f"{name.replace(' ', '_')}_{index}",
                buffers(work, given, point, check),
                work.output,
            )
            check.close(found, expected)


def test_kernels_run_in_parallel(check) -> None:
    works = [CASES[name] for name in ("residual", "small groups", "batched")]
    kernels: list[Kernel] = []
    calls = []
    for index, work in enumerate(works):
        legal = [
            p
            for p in points(work, lanes=LANES, threads=2)
            if p.rows * p.columns * p.vectors <= 4 and p.unroll == 1
        ]
        for point in random.Random(index).sample(legal, 3):
            name = f"k{len(kernels)}"
            kernels.append(kernel(work, point, lanes=LANES, threads=2, name=name))
            calls.append((work, point, name))
    call = check.compile_all(kernels)
    for work, point, name in calls:
        given, (expected,) = arrays(work)
        given = buffers(work, given, point, check)
        check.close(check.called(call, name, given, work.output), expected)


@pytest.mark.parametrize(
    "name",
    [name for name, each in CASES.items() if each.output.size * each.depth <= 15000],
)
@pytest.mark.parametrize(("threads", "fused"), [(1, 0), (2, 1), (2, 2)])
def test_every_output_is_written_once_and_nothing_else_is_touched(
    name, threads, fused, interpret, check
) -> None:
    work = CASES[name]
    given, (expected,) = arrays(work)
    (point,) = some_points(work, 7, 1)
    point = point._replace(fused=fused)
    made = kernel(work, point, lanes=LANES, threads=threads, name="k")
    filled = [each.numpy() for each in buffers(work, given, point, check)]
    names = [each.name for each in made.parameters]
    memory = dict(zip(names, [*filled, np.full(work.output.size, 7.5)], strict=True))
    done = interpret(made, memory)
    written = np.zeros(work.output.size, int)
    written[check.elements(work.output).reshape(-1)] = 1
    assert (done.stores["y"] == written).all()
    assert not any(done.stores[each].any() for each in names[:-1])
    check.close(
        check.gather(torch.from_numpy(done.memory["y"]), work.output), expected, 1e-6
    )


def tops(body: Any) -> list[Loop]:
    return [each for each in body if isinstance(each, Loop)]


def test_one_thread_has_no_parallel_loop() -> None:
    for work in CASES.values():
        made = kernel(
            work, some_points(work, 1, 1)[0], lanes=LANES, threads=1, name="k"
        )
        loops = [each for each in walk(made.body) if isinstance(each, Loop)]
        assert all(each.kind is not Kind.PARALLEL for each in loops)


def test_several_threads_share_the_outermost_loops() -> None:
    work = CASES["residual"]  # 2 samples, 3 vectors of channels, 4 rows of 5
    one = Point(rows=2, columns=5, vectors=1, unroll=1, order="nghw")
    made = kernel(work, one, lanes=LANES, threads=2, name="k")
    assert [(each.extent, each.kind) for each in tops(made.body)] == [
        (2, Kind.PARALLEL)
    ]
    made = kernel(work, one._replace(fused=2), lanes=LANES, threads=2, name="k")
    assert [(each.extent, each.kind) for each in tops(made.body)] == [
        (2 * 3, Kind.PARALLEL)
    ]
    # With two vectors a tile there is a rest of one vector: a second parallel loop.
    wide = one._replace(vectors=2, fused=2)
    made = kernel(work, wide, lanes=LANES, threads=2, name="k")
    assert [(each.extent, each.kind) for each in tops(made.body)] == [
        (2 * 1, Kind.PARALLEL),
        (2 * 1, Kind.PARALLEL),
    ]
    inner = [each for top in tops(made.body) for each in walk(top.body)]
    assert Kind.PARALLEL not in {e.kind for e in inner if isinstance(e, Loop)}


def test_packed_weights_hold_each_weight_once() -> None:
    for work in CASES.values():
        if work.weight is not None:
            continue
        count = work.output.shape[1] * work.depth
        weight = torch.arange(float(count)).view(
            work.output.shape[1], work.inputs_per_group, *work.kernel
        )
        for vectors in (1, 2, 3):
            packed_weight = in_order(work, weight, vectors)
            assert sorted(packed_weight.tolist()) == list(range(count))


def test_the_next_weights_are_asked_for_where_the_schedule_says() -> None:
    work = CASES["plain"]
    plain = Point(rows=1, columns=3, vectors=1, unroll=2, order="nghw")
    for ask in (False, True):
        point = plain._replace(prefetch=ask)
        made = kernel(work, point, lanes=LANES, threads=1, name="k")
        assert ask == any(isinstance(each, Prefetch) for each in walk(made.body))


def test_flops_and_parameters() -> None:
    work = CASES["residual"]
    assert work.depth == 8 * 3 * 3
    assert work.flops == 2 * 2 * 24 * 4 * 5 * 8 * 3 * 3
    point = Point(1, 1, 1, 1, "nghw")
    made = kernel(work, point, lanes=LANES, threads=1, name="k")
    assert [each.name for each in made.parameters] == [
        "x", "weight", "bias", "other0", "y",
    ]  # fmt: skip
    assert [each.elements for each in made.parameters] == [
        2 * 8 * 6 * 7, 24 * 8 * 3 * 3, 24, 2 * 24 * 5 * 7, 2 * 24 * 5 * 7,
    ]  # fmt: skip
    grouped = CASES["groups"]
    assert (grouped.inputs_per_group, grouped.outputs_per_group) == (16, 16)
    assert grouped.flops == 2 * 32 * 2 * 3 * 16 * 3 * 3
