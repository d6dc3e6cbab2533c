"""What a Winograd schedule consists of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import Halo, packed, row_major
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_plan import (
    LINE,
    Chunk,
    Plan,
    Point,
    Segment,
    check,
    plain,
    refusal,
    required_halo,
)
from trimtab.errors import UsageError

POINT = Point(tile=4, block=6, rows=3, vectors=2, chunk=2)


def work(
    inputs: int = 16, outputs: int = 16, size: int = 7, halo: Halo = (1, 2, 1, 2)
) -> Contraction:
    def layout(channels: int, around: Halo = (0, 0, 0, 0)):
        near = 8 if channels % 8 == 0 else channels
        return packed((2, channels, size, size), block=near, halo=around)

    return Contraction(
        input=layout(inputs, halo),
        output=layout(outputs),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
    )


def test_the_halo_covers_what_the_last_tiles_read() -> None:
    # Seven outputs in two tiles of four: inputs -1 to 8, of which 0 to 6 are there.
    assert required_halo(work(size=7), 4) == (1, 2 * 4 + 2 - 1 - 7, 1, 2)
    assert required_halo(work(size=7), 2) == (1, 4 * 2 + 2 - 1 - 7, 1, 2)
    assert required_halo(work(size=8), 4) == (1, 1, 1, 1)
    valid = replace(
        work(), padding=(0, 0), output=packed((2, 16, 5, 5), block=8)
    )  # six outputs in steps of two read eight rows, seven are there
    assert required_halo(valid, 2) == (0, 3 * 2 + 2 - 7, 0, 1)
    cropped = replace(work(), padding=(0, 0), output=packed((2, 16, 2, 2), block=8))
    assert required_halo(cropped, 2) == (0, 0, 0, 0)


def test_what_the_family_computes() -> None:
    assert refusal(work(), 8) is None
    assert refusal(work(inputs=12, outputs=20), 8) is None  # channels last
    given = work()
    other = packed((2, 16, 7, 7), block=4)
    for changed, reason in (
        ({"kernel": (1, 3)}, "its window is 1x3, not 3x3"),
        ({"stride": (2, 1)}, "its stride is 2x1, not 1x1"),
        ({"dilation": (2, 2)}, "its dilation is 2x2, not 1x1"),
        ({"groups": 2}, "it has 2 groups"),
        ({"weight": row_major((1, 144, 16))}, "its weight is no constant"),
        ({"input": other}, "channels of its input do not lie together"),
        (
            {"output": row_major((2, 16, 7, 7))},
            "channels of its output do not lie together",
        ),
        (
            {"operands": (given.output, other)},
            "channels of operand 1 do not lie together",
        ),
    ):
        assert refusal(replace(given, **changed), 8) == reason


def test_a_kernel_that_cannot_be_is_refused() -> None:
    check(work(), POINT, 8)
    with pytest.raises(UsageError) as caught:
        check(replace(work(), stride=(2, 2)), POINT, 8)
    assert str(caught.value) == (
        "a Winograd convolution: its stride is 2x2, not 1x1 (work). "
        "Take the family of contractions."
    )
    with pytest.raises(UsageError) as caught:
        check(work(halo=(1, 1, 1, 1)), POINT, 8)
    assert str(caught.value) == (
        "a Winograd convolution of an input with halo (1, 1, 1, 1): tiles of 4x4 "
        "outputs read (1, 2, 1, 2) (work.input). Give the input the halo that "
        "required_halo returns."
    )


def test_tiles_of_all_samples_are_counted_through() -> None:
    plan = Plan.of(work(), POINT, lanes=8, threads=1)
    assert (plan.positions, plan.down, plan.across) == (6 * 6, 2, 2)
    assert plan.tiles == 2 * 2 * 2
    assert (plan.block, plan.blocks) == (6, 2)
    assert plan.weight_elements == 6 * 6 * 16 * 16


def test_channels_are_covered_once() -> None:
    for channels in (3, 8, 24, 40, 64, 72, 83):
        for vectors in (1, 2, 3, 5):
            for chunk in (1, 2, 4):
                point = POINT._replace(vectors=vectors, chunk=chunk)
                given = work(inputs=channels, outputs=channels)
                plan = Plan.of(given, point, lanes=8, threads=1)
                assert covered(plan.chunks) == list(range(channels))
                inputs = [
                    each.start + step * each.lanes + lane
                    for each in plan.inputs
                    for step in range(each.count)
                    for lane in range(each.lanes)
                ]
                assert inputs == list(range(channels))


def covered(chunks: tuple[Chunk, ...]) -> list[int]:
    return [
        chunk.start + index * chunk.channels + group.start + step * size + channel
        for chunk in chunks
        for index in range(chunk.count)
        for group in chunk.groups
        for size in (group.step * group.lanes,)
        for step in range(group.count)
        for channel in range(size)
    ]


def test_what_is_left_over_is_the_last_chunk() -> None:
    point = POINT._replace(vectors=3, chunk=2)
    chunks = Plan.of(work(outputs=83), point, lanes=8, threads=1).chunks
    # Ten vectors and three channels: groups of three vectors, two groups a chunk.
    assert chunks == (
        Chunk(1, 0, (Segment(2, 0, 3, 8),)),
        Chunk(1, 48, (Segment(1, 0, 3, 8), Segment(1, 24, 1, 8), Segment(1, 32, 1, 3))),
    )
    assert (chunks[1].channels, chunks[1].vectors) == (24 + 8 + 3, 3 + 1 + 1)


def test_scratch_holds_v_and_m_of_each_thread() -> None:
    given = work(inputs=16, outputs=32)
    v = 36 * (6 * 16 // LINE + 1) * LINE  # six lines a position, made odd
    m = 36 * (6 * 32 // LINE + 1) * LINE
    for threads in (1, 2, 3):
        plan = Plan.of(given, POINT, lanes=8, threads=threads)
        assert (plan.v_elements, plan.m_elements) == (v, m)
        assert plan.scratch_elements == threads * (v + m)


def test_threads_that_part_channels_share_v() -> None:
    given = work(inputs=16, outputs=64)
    point = POINT._replace(split="channels")
    plan = Plan.of(given, point, lanes=8, threads=2)
    assert (plan.shared, plan.block, plan.blocks) == (True, 8, 1)
    v = 36 * (8 * 16 // LINE + 1) * LINE
    m = 36 * (8 * 32 // LINE + 1) * LINE
    assert plan.scratch_elements == v + 2 * m
    assert not Plan.of(given, point, lanes=8, threads=1).shared


def test_strides_between_positions_are_odd_lines() -> None:
    for block in range(1, 9):
        point = POINT._replace(block=block)
        plan = Plan.of(work(inputs=64), point, lanes=8, threads=1)
        assert plan.v_stride % (2 * LINE) == LINE
        assert plan.m_stride % (2 * LINE) == LINE
        assert plan.v_stride >= 64 * block


def test_channels_last_is_a_layout_without_blocks() -> None:
    layout = packed((2, 20, 3, 4), block=20, halo=(1, 1, 1, 1))
    assert plain(layout).strides == (5 * 6 * 20, 1, 6 * 20, 20)
    assert plain(layout).at((1, 7, 2, 3)) == layout.at((1, 7, 2, 3))
    blocked = packed((2, 16, 3, 4), block=8)
    assert plain(blocked) == blocked
