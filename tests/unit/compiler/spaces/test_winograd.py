"""Winograd kernels against direct convolutions in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.loops import Kernel, Kind, Loop, maximum, walk
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd import kernel
from trimtab.compiler.spaces.winograd_plan import Plan, Point, required_halo
from trimtab.compiler.spaces.winograd_weights import transform_weights
from trimtab.errors import UsageError

RESIDUAL = (
    Formula(slots=2, steps=(), result=slot(0))
    .step(slot(0) + slot(1))
    .then(lambda x: maximum(0.0, x))
)

LIMITS = {2: 1e-6, 4: 4e-6}
"""Relative errors that no layer of these sizes reaches."""


def near(channels: int, lanes: int = 8) -> int:
    return lanes if channels % lanes == 0 else channels


def layouts(
    shape: tuple[int, int, int, int], outputs: int, padding: int, tile: int
) -> Contraction:
    samples, inputs, height, width = shape
    size = (samples, outputs, height + 2 * padding - 2, width + 2 * padding - 2)
    bare = Contraction(
        input=packed(shape, block=near(inputs)),
        output=packed(size, block=near(outputs), halo=(1, 2, 1, 2)),
        kernel=(3, 3),
        padding=(padding, padding),
        formula=IDENTITY,
    )
    halo = required_halo(bare, tile)
    return replace(bare, input=packed(shape, block=near(inputs), halo=halo))


def error_of(check, work: Contraction, point: Point, lanes: int = 8, seed: int = 0):
    """Return the largest difference relative to the largest output."""
    rng = torch.Generator().manual_seed(seed)
    outputs, inputs = work.output.shape[1], work.input.shape[1]
    x = torch.randn(work.input.shape, generator=rng)
    weight = torch.randn(outputs, inputs, 3, 3, generator=rng) / (9 * inputs) ** 0.5
    bias = torch.randn(outputs, generator=rng) if work.bias else None
    others = [torch.randn(each.shape, generator=rng) for each in work.operands]
    expected = torch.nn.functional.conv2d(
        x.double(),
        weight.double(),
        None if bias is None else bias.double(),
        padding=work.padding,
    )
    if work.formula is RESIDUAL:
        expected = torch.relu(expected + others[0].double())
    plan = Plan.of(work, point, lanes=lanes, threads=1)
    buffers = [
        check.scatter(x, work.input),
        torch.from_numpy(transform_weights(work, point, weight, lanes=lanes)),
        *([] if bias is None else [bias]),
        *(
            check.scatter(o, each)
            for o, each in zip(others, work.operands, strict=True)
        ),
        torch.full((plan.scratch_elements,), float("nan")),  # what is there is not used
    ]
    written = kernel(work, point, lanes=lanes, threads=1, name="conv")
    found = check.run(written, buffers, work.output)
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(
    ("shape", "outputs", "padding"),
    [
        ((1, 16, 8, 8), 16, 1),  # whole tiles
        ((2, 16, 9, 7), 40, 1),  # ragged ones, several samples, a chunk left over
        ((1, 24, 7, 10), 16, 0),  # nothing around
        ((1, 8, 5, 5), 8, 2),  # more around than a window needs
        ((1, 12, 6, 6), 20, 1),  # channels last, not whole vectors
        ((3, 8, 3, 3), 8, 1),  # smaller than a tile
    ],
)
def test_a_kernel_is_a_convolution(check, shape, outputs, padding, tile: int) -> None:
    work = replace(layouts(shape, outputs, padding, tile), bias=True)
    point = Point(tile, block=5, rows=3, vectors=2, unroll=4, chunk=2, prefetch=True)
    assert error_of(check, work, point) < LIMITS[tile]


@pytest.mark.parametrize("tile", [2, 4])
def test_the_formula_sees_operands_in_their_layouts(check, tile: int) -> None:
    work = layouts((2, 16, 7, 9), 16, 1, tile)
    shape = work.output.shape
    point = Point(tile, block=3, rows=3, vectors=1, unroll=4)
    for other in (work.output, row_major(shape), packed(shape, block=16)):
        changed = replace(work, formula=RESIDUAL, operands=(other,))
        assert error_of(check, changed, point) < LIMITS[tile]


def test_an_operand_may_be_a_value_for_each_channel(check) -> None:
    shape = (1, 16, 6, 6)
    work = layouts(shape, 16, 1, 4)
    scale = row_major((1, 16, 1, 1)).broadcast(shape)
    times = Formula(slots=2, steps=(), result=slot(0) * slot(1))
    work = replace(work, formula=times, operands=(scale,))
    point = Point(4, block=4, rows=4, vectors=2)
    x, weight, factors = torch.randn(shape), torch.randn(16, 16, 3, 3), torch.randn(16)
    plan = Plan.of(work, point, lanes=8, threads=1)
    found = check.run(
        kernel(work, point, lanes=8, threads=1, name="conv"),
        [
            check.scatter(x, work.input),
            torch.from_numpy(transform_weights(work, point, weight, lanes=8)),
            factors,
            torch.empty(plan.scratch_elements),
        ],
        work.output,
    )
    expected = torch.nn.functional.conv2d(x.double(), weight.double(), padding=1)
    check.close(found, expected * factors.double()[:, None, None], LIMITS[4])


@pytest.mark.parametrize("lanes", [4, 16])
def test_other_vectors_compute_the_same(check, lanes: int) -> None:
    work = layouts((1, 16, 6, 6), 16, 1, 4)
    changed = replace(
        work,
        input=packed(work.input.shape, block=lanes, halo=work.input.halo),
        output=packed(work.output.shape, block=lanes),
    )
    point = Point(4, block=3, rows=2, vectors=3, unroll=8, chunk=1)
    assert error_of(check, changed, point, lanes) < LIMITS[4]


def test_many_channels_lose_little(check) -> None:
    errors = {}
    for tile in (2, 4):
        work = layouts((1, 256, 8, 8), 64, 1, tile)
        errors[tile] = error_of(check, work, Point(tile, 16, 4, 3, prefetch=True))
        assert errors[tile] < LIMITS[tile]
    assert errors[2] < errors[4]


def threaded(split: str) -> Kernel:
    work = layouts((1, 16, 16, 16), 80, 1, 4)
    point = Point(4, block=4, rows=4, vectors=2, chunk=2, split=split)
    return kernel(work, point, lanes=8, threads=2, name="conv")


def test_threads_take_blocks_of_tiles() -> None:
    (outer,) = threaded("tiles").body
    assert isinstance(outer, Loop)
    assert (outer.kind, outer.extent) == (Kind.PARALLEL, 2)
    inner = outer.body[0]
    assert isinstance(inner, Loop)
    assert inner.extent == (4 * 4 // 4) // 2  # of the blocks, a half each


def test_threads_share_transformed_inputs_when_they_part_channels() -> None:
    first, second = threaded("channels").body
    assert isinstance(first, Loop)
    assert isinstance(second, Loop)
    assert (first.kind, first.extent) == (Kind.PARALLEL, 16 // 8)
    assert (second.kind, second.extent) == (Kind.PARALLEL, 2)


@pytest.mark.parametrize("split", ["tiles", "channels"])
def test_only_the_outermost_loop_is_parallel(split: str) -> None:
    for outer in threaded(split).body:
        assert isinstance(outer, Loop)
        inner = [each for each in walk(outer.body) if isinstance(each, Loop)]
        assert all(each.kind is not Kind.PARALLEL for each in inner)


@pytest.mark.parametrize("split", ["tiles", "channels"])
def test_one_thread_has_no_parallel_loop(split: str) -> None:
    work = layouts((1, 16, 16, 16), 16, 1, 4)
    point = Point(4, block=4, rows=4, vectors=2, split=split)
    written = kernel(work, point, lanes=8, threads=1, name="conv")
    loops = [each for each in walk(written.body) if isinstance(each, Loop)]
    assert all(each.kind is not Kind.PARALLEL for each in loops)


@pytest.mark.parametrize("split", ["tiles", "channels"])
def test_two_threads_compute_the_same_bits(check, split: str) -> None:
    work = layouts((1, 16, 10, 10), 40, 1, 4)
    point = Point(4, block=4, rows=2, vectors=2, chunk=1, split=split)
    x, weight = torch.randn(work.input.shape), torch.randn(40, 16, 3, 3)
    u = torch.from_numpy(transform_weights(work, point, weight, lanes=8))
    found = []
    for threads in (1, 2):
        plan = Plan.of(work, point, lanes=8, threads=threads)
        scratch = torch.full((plan.scratch_elements,), float("nan"))
        written = kernel(work, point, lanes=8, threads=threads, name="conv")
        inputs = [check.scatter(x, work.input), u, scratch]
        found.append(check.run(written, inputs, work.output))
    assert torch.equal(*found)


def test_the_weights_of_the_next_panel_are_asked_for() -> None:
    work = layouts((1, 64, 8, 8), 64, 1, 4)
    point = Point(4, block=4, rows=4, vectors=2)
    texts = [
        str(kernel(work, point._replace(prefetch=ask), lanes=8, threads=1, name="conv"))
        for ask in (False, True)
    ]
    # Eight input channels of sixteen outputs are eight lines.
    assert [text.count("prefetch weight") for text in texts] == [0, 8 * 16 // 16]


def test_what_has_no_kernel_is_refused() -> None:
    work = layouts((1, 16, 8, 8), 16, 1, 4)
    with pytest.raises(UsageError, match="its stride is 2x2, not 1x1"):
        kernel(
            replace(work, stride=(2, 2)),
            Point(4, 4, 4, 2),
            lanes=8,
            threads=1,
            name="c",
        )
