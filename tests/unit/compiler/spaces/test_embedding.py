"""Rows of a table and bags of them against PyTorch."""

import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.loops import Kind, Loop, walk
from trimtab.compiler.spaces.embedding import (
    Embedding,
    Point,
    kernel,
    points,
)

LANES = 8
ROWS = 50


def _every(work, inputs, check, expected, threads=1) -> None:
    kernels = [
        kernel(work, point, lanes=LANES, threads=threads, name=f"k{index}")
        for index, point in enumerate(points(work, lanes=LANES, threads=threads))
    ]
    call = check.compile_all(kernels)
    for each in kernels:
        check.close(check.called(call, each.name, inputs, work.output), expected)


@pytest.mark.parametrize("width", [1, 8, 77])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_rows(width, dtype, check) -> None:
    table = torch.randn(ROWS, width)
    indices = torch.randint(0, ROWS, (23,)).to(getattr(torch, dtype))
    work = Embedding(
        table=row_major((ROWS, width)),
        output=row_major((23, width)),
        count=23,
        index_dtype=dtype,
    )
    _every(work, (table.view(-1), indices), check, F.embedding(indices, table), 2)


def test_into_a_wider_buffer(check) -> None:
    table, indices = torch.randn(ROWS, 12), torch.randint(0, ROWS, (5,))
    output = Layout(shape=(5, 12), strides=(40, 1), size=200, offset=3)
    work = Embedding(table=row_major((ROWS, 12)), output=output, count=5)
    _every(work, (table.view(-1), indices), check, F.embedding(indices, table))


@pytest.mark.parametrize("outside", [-1, 4, 2**40, -(2**40)])
def test_a_number_outside_ends_the_call_before_a_row_is_written(outside, check) -> None:
    table = torch.randn(4, 8)
    indices = torch.tensor([1, 2, outside])
    work = Embedding(table=row_major((4, 8)), output=row_major((3, 8)), count=3)
    point = points(work, lanes=LANES, threads=1)[0]
    call = check.compile_all([kernel(work, point, lanes=LANES, threads=1, name="k")])
    output = torch.full((3 * 8,), 7.0)
    with pytest.raises(Exception, match="a table of 4 rows has no row of a number"):
        call("k", table.view(-1), indices, output)
    assert torch.equal(output, torch.full((3 * 8,), 7.0))


@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_bags_of_equal_size(pool, padding, threads, check) -> None:
    table = torch.randn(ROWS, 29)
    indices = torch.randint(0, 6, (7, 5))
    work = Embedding(
        table=row_major((ROWS, 29)),
        output=row_major((7, 29)),
        count=35,
        pool=pool,
        length=5,
        padding=padding,
    )
    expected = F.embedding_bag(indices, table.double(), mode=pool, padding_idx=padding)
    _every(work, (table.view(-1), indices.view(-1)), check, expected, threads)


OFFSETS = {
    "uneven": [0, 2, 3, 9],
    "empty": [0, 0, 4, 4, 4, 20],
    "one": [0],
    "at the end": [0, 20, 20],
}


@pytest.mark.parametrize("name", sorted(OFFSETS))
@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
def test_bags_of_offsets(name, pool, check) -> None:
    table, indices = torch.randn(ROWS, 37), torch.randint(0, ROWS, (20,))
    offsets = torch.tensor(OFFSETS[name])
    work = Embedding(
        table=row_major((ROWS, 37)),
        output=row_major((len(offsets), 37)),
        count=20,
        pool=pool,
    )
    inputs = (table.view(-1), indices, offsets)
    expected = F.embedding_bag(indices, table.double(), offsets, mode=pool)
    _every(work, inputs, check, expected, 2 if pool == "sum" else 1)


def test_the_end_of_the_last_bag(check) -> None:
    table, indices = torch.randn(ROWS, 16), torch.randint(0, ROWS, (20,))
    offsets = torch.tensor([0, 5, 5, 20])
    work = Embedding(
        table=row_major((ROWS, 16)),
        output=row_major((3, 16)),
        count=20,
        pool="sum",
        last_offset=True,
    )
    expected = F.embedding_bag(
        indices, table.double(), offsets, mode="sum", include_last_offset=True
    )
    _every(work, (table.view(-1), indices, offsets), check, expected)


@pytest.mark.parametrize("padding", [None, 2])
def test_weights_of_the_rows(padding, check) -> None:
    table, indices = torch.randn(ROWS, 24), torch.randint(0, 5, (20,)).int()
    offsets, weights = torch.tensor([0, 7, 9]).int(), torch.randn(20)
    work = Embedding(
        table=row_major((ROWS, 24)),
        output=row_major((3, 24)),
        count=20,
        pool="sum",
        weighted=True,
        padding=padding,
        index_dtype="int32",
    )
    expected = F.embedding_bag(
        indices, table.double(), offsets, mode="sum",
        per_sample_weights=weights.double(), padding_idx=padding,
    )  # fmt: skip
    _every(work, (table.view(-1), indices, offsets, weights), check, expected)


@pytest.mark.parametrize(
    "offsets", [(0, 1000, 1000), (0, 4, 2), (1, 2, 3), (-1, 2, 3), (0, -5, 2)]
)
def test_offsets_that_make_no_sense_are_refused(check, offsets) -> None:
    table, indices = torch.randn(ROWS, 8), torch.randint(0, ROWS, (6,))
    work = Embedding(
        table=row_major((ROWS, 8)), output=row_major((3, 8)), count=6, pool="sum"
    )
    point = points(work, lanes=LANES, threads=1)[0]
    written = kernel(work, point, lanes=LANES, threads=1, name="k")
    given = (table.view(-1), indices, torch.tensor(offsets))
    with pytest.raises(Exception, match="offsets begin with 0, ascend"):
        check.run(written, given, work.output)


def test_what_it_asks_for() -> None:
    table = row_major((ROWS, 16))
    rows = Embedding(table=table, output=row_major((20, 16)), count=20)
    assert (rows.flops, rows.offsets) == (0, 0)
    assert rows.read_bytes == 4 * 20 * 16 + 8 * 20
    assert rows.write_bytes == 4 * 20 * 16
    bags = Embedding(
        table=table,
        output=row_major((3, 16)),
        count=20,
        pool="sum",
        weighted=True,
        last_offset=True,
        index_dtype="int32",
    )
    assert bags.flops == 2 * 20 * 16
    assert bags.read_bytes == 4 * 20 * (16 + 1) + 4 * (20 + 3 + 1)
    assert bags.write_bytes == 4 * 3 * 16


def test_points() -> None:
    work = Embedding(
        table=row_major((ROWS, 16)), output=row_major((4, 16)), count=8, pool="sum"
    )
    assert points(work, lanes=8, threads=1) == [Point(2), Point(1)]
    assert points(work, lanes=8, threads=2)[0] == Point(2, True)
    for threads in (1, 2):
        written = kernel(work, Point(1, True), lanes=8, threads=threads, name="k")
        kinds = {each.kind for each in walk(written.body) if isinstance(each, Loop)}
        assert (Kind.PARALLEL in kinds) == (threads == 2)
