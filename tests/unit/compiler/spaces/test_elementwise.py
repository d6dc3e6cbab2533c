"""Elementwise kernels: any layout to any other, tails, halos, formulas."""

import pytest
import torch

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.loops import Call, Kind, Loop, maximum, walk
from trimtab.compiler.spaces.elementwise import (
    Elementwise,
    Point,
    broadcast,
    dimensions,
    kernel,
    points,
)

LANES = 8
IMAGE = (2, 16, 5, 9)
LAYOUTS = {
    "rows": row_major(IMAGE),
    "blocks": packed(IMAGE, block=8),
    "halo": packed(IMAGE, block=8, halo=(1, 2, 3, 4)),
    "small": packed(IMAGE, block=4, halo=(1, 1, 1, 1)),
    "last": packed(IMAGE, block=16, halo=(0, 0, 1, 1)),
    "part": packed((2, 32, 5, 9), block=8).slice_of(1, 8, 16),
    "turned": Layout(shape=IMAGE, strides=(9, 90, 18, 1), size=16 * 90),
    "gaps": Layout(shape=IMAGE, strides=(4000, 200, 20, 2), size=8000, offset=3),
}


def _copy(source: Layout, target: Layout, dtype: str = "float32") -> Elementwise:
    return Elementwise(output=target, formula=IDENTITY, operands=(source,), dtype=dtype)


def _first(work, threads=1):
    return points(work, lanes=LANES, threads=threads)[0]


def _loops(work) -> list[tuple[int, tuple[int, ...]]]:
    return [(each.extent, each.strides) for each in dimensions(work)]


def test_equal_layouts_are_one_line() -> None:
    work = _copy(row_major((3, 4, 5)), row_major((3, 4, 5)))
    assert _loops(work) == [(3 * 4 * 5, (1, 1))]
    halo = packed((1, 16, 4, 4), block=8, halo=(1, 1, 1, 1))
    # Blocks of images, rows, and a row as one line: between rows lies the halo.
    assert _loops(_copy(halo, halo)) == [
        (2, (6 * 6 * 8, 6 * 6 * 8)),
        (4, (6 * 8, 6 * 8)),
        (4 * 8, (1, 1)),
    ]


def test_one_element() -> None:
    work = _copy(row_major((1, 1)), row_major((1, 1)))
    assert _loops(work) == [(1, (1, 1))]


def test_blocks_that_do_not_divide_each_other() -> None:
    shape = (1, 24, 2, 2)
    with pytest.raises(ValueError, match=r"blocks \[8, 12\] of an axis of 24"):
        dimensions(_copy(packed(shape, block=8), packed(shape, block=12)))


def test_what_it_asks_for() -> None:
    shape = (2, 16, 4, 4)
    formula = Formula(slots=2, steps=(), result=slot(0)).step(slot(0) * slot(1) + 1.0)
    work = Elementwise(
        output=row_major(shape),
        formula=formula,
        operands=broadcast(shape, packed(shape, block=8), row_major((16, 1, 1))),
    )
    count = 2 * 16 * 4 * 4
    assert work.elements == count
    assert work.flops == 2 * count
    assert work.read_bytes == 4 * (count + 16)
    assert work.write_bytes == 4 * count
    copy = _copy(row_major((5,)), row_major((5,)), "int64")
    assert (copy.flops, copy.read_bytes, copy.write_bytes) == (0, 5 * 8, 5 * 8)


def test_points_are_distinct_and_serial_for_one_thread() -> None:
    for source in LAYOUTS.values():
        work = _copy(source, LAYOUTS["halo"])
        found = points(work, lanes=LANES, threads=1)
        assert len(found) == len(set(found)) >= 4
        assert all(point.fused == 0 for point in found)
        for point in found:
            written = kernel(work, point, lanes=LANES, threads=1, name="k")
            assert all(
                each.kind is not Kind.PARALLEL
                for each in walk(written.body)
                if isinstance(each, Loop)
            )


def test_a_transpose_runs_vectors_along_the_operand() -> None:
    work = _copy(row_major((1, 16, 4, 4)), packed((1, 16, 4, 4), block=8))
    # Dimensions: blocks, pixels, channels of a block; in the operand pixels are a line.
    assert _first(work) == Point(vector=1, tile=8, unroll=2)


@pytest.mark.parametrize("target", sorted(LAYOUTS))
def test_copies_between_all_layouts(target, check) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(IMAGE, generator=generator)
    kernels, works = [], {}
    for source, layout in LAYOUTS.items():
        work = _copy(layout, LAYOUTS[target])
        for index, point in enumerate(points(work, lanes=LANES, threads=1)[::5]):
            name = f"{source}_{index}"
            kernels.append(kernel(work, point, lanes=LANES, threads=1, name=name))
            works[name] = layout
    call = check.compile_all(kernels)
    for name, layout in works.items():
        found = check.called(call, name, (check.scatter(x, layout),), LAYOUTS[target])
        assert torch.equal(found, x), name


@pytest.mark.parametrize(
    "shape", [(7,), (3, 5), (2, 3, 4, 5, 6), (1, 3, 9, 11), (33, 40)]
)
def test_transposes_of_any_rank(shape, check) -> None:
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    source = row_major(shape)
    turned = Layout(shape=shape[::-1], strides=source.strides[::-1], size=source.size)
    work = _copy(turned, row_major(shape[::-1]))
    for threads in (1, 2):
        for lanes in (4, 8):
            point = points(work, lanes=lanes, threads=threads)[0]
            written = kernel(work, point, lanes=lanes, threads=threads, name="k")
            found = check.run(written, (x.reshape(-1),), work.output)
            assert torch.equal(found, x.permute(*reversed(range(len(shape)))))


@pytest.mark.parametrize(
    ("shape", "block"), [((2, 16, 5, 7), 8), ((1, 20, 3, 3), 20), ((3, 8, 1, 1), 8)]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_scale_shift_residual(shape, block, threads, check) -> None:
    halo = packed(shape, block=block, halo=(1, 1, 1, 1))
    channels = shape[1]
    channel = packed((1, channels, 1, 1), block=block)
    formula = Formula(slots=4, steps=(), result=slot(0))
    formula = formula.step(slot(0) * slot(1) + slot(2)).then(lambda x: x + slot(3))
    formula = formula.then(lambda x: maximum(0.0, x))
    work = Elementwise(
        output=halo,
        formula=formula,
        operands=(
            packed(shape, block=block),
            *broadcast(shape, channel, channel),
            row_major(shape),
        ),
    )
    x, r = torch.randn(shape), torch.randn(shape)
    scale, shift = torch.randn(1, channels, 1, 1), torch.randn(1, channels, 1, 1)
    buffers = [
        check.scatter(x, work.operands[0]), scale.view(-1), shift.view(-1), r.view(-1)
    ]  # fmt: skip
    expected = (x.double() * scale + shift + r).relu()
    kernels = {
        f"k{index}": kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(points(work, lanes=LANES, threads=threads))
    }
    call = check.compile_all(list(kernels.values()))
    for name in kernels:
        check.close(check.called(call, name, buffers, halo), expected)


def test_functions_along_a_line_with_a_tail(check) -> None:
    shape = (3, 45)
    formula = Formula(slots=2, steps=(), result=slot(0)).step(
        Call("tanh", (slot(0),)) * Call("exp", (slot(1),))
    )
    work = Elementwise(
        output=row_major(shape),
        formula=formula,
        operands=broadcast(shape, row_major(shape), row_major((3, 1))),
    )
    x, y = torch.randn(shape), torch.randn(3, 1)
    written = kernel(work, _first(work), lanes=LANES, threads=1, name="k")
    found = check.run(written, (x.view(-1), y.view(-1)), work.output)
    check.close(found, x.double().tanh() * y.double().exp())


@pytest.mark.parametrize("dtype", ["int64", "bool", "int32"])
def test_copies_of_whole_numbers(dtype, check) -> None:
    x = torch.arange(77).view(7, 11) % 2 == 0 if dtype == "bool" else torch.arange(77)
    kind = getattr(torch, dtype)
    x = x.view(7, 11).to(kind)
    turned = Layout(shape=(11, 7), strides=(1, 11), size=77)
    work = _copy(turned, row_major((11, 7)), dtype)
    written = kernel(work, _first(work), lanes=LANES, threads=1, name="k")
    found = check.run(written, (x.view(-1),), work.output, kind)
    assert torch.equal(found, x.T)


def test_a_piece_of_a_concatenation(check) -> None:
    whole = row_major((4, 10))
    piece = whole.slice_of(1, 3, 5)
    x = torch.randn(4, 5)
    work = _copy(row_major((4, 5)), piece)
    written = kernel(work, _first(work), lanes=LANES, threads=1, name="k")
    assert torch.equal(check.run(written, (x.view(-1),), piece), x)


def test_a_parallel_kernel_says_so() -> None:
    work = _copy(row_major((64, 64)), row_major((64, 64)))
    parallel = kernel(work, _first(work, 2), lanes=LANES, threads=2, name="k")
    kinds = [each.kind for each in walk(parallel.body) if isinstance(each, Loop)]
    assert kinds[0] is Kind.PARALLEL
