"""The closed form of contractions against the loops that are written."""

import itertools
import random

import numpy as np
import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.loops import Binary, Kind, Loop, Store
from trimtab.compiler.spaces.contraction import Contraction, Point, kernel
from trimtab.compiler.spaces.contraction_model import knobs, nests, points

LANES = 8


def convolution(shape, outputs, window=1, *, stride=1, groups=1, out=None, block=None):
    batch, channels, height, width = shape
    padding = window // 2
    size = [(each + 2 * padding - window) // stride + 1 for each in (height, width)]
    return Contraction(
        input=packed(shape, block=block or channels, halo=(padding,) * 4),
        output=packed((batch, outputs, *size), block=out or outputs),
        kernel=(window, window),
        stride=(stride, stride),
        padding=(padding, padding),
        groups=groups,
        formula=IDENTITY,
        bias=True,
    )


def dense(rows, depth, columns, *, computed=False):
    def samples(last):
        return Layout(
            shape=(1, last, 1, rows), strides=(0, 1, 0, last), size=rows * last
        )

    return Contraction(
        input=samples(depth),
        output=samples(columns),
        formula=IDENTITY,
        weight=row_major((1, depth, columns)) if computed else None,
    )


WORKS = {
    "plain": convolution((2, 16, 7, 9), 32, 3, block=8, out=8),
    "stride": convolution((1, 16, 9, 9), 24, 3, stride=2, block=8, out=8),
    "groups": convolution((1, 32, 5, 5), 48, 3, groups=2, block=8, out=8),
    "ragged": convolution((2, 12, 5, 7), 28, 3),
    "groups begin inside vectors": convolution((1, 12, 4, 4), 40, 3, groups=2),
    "few": convolution((1, 3, 8, 8), 5, 3),
    "pixel": convolution((4, 16, 1, 1), 32),
    "dense": dense(5, 24, 40),
    "row": dense(1, 24, 33),
    "computed": dense(5, 24, 40, computed=True),
}


def multiplications(body, trips=1, lanes=1) -> tuple[int, int]:
    """Return vector multiply-adds of the written loops, and elements they multiply."""
    vectors = elements = 0
    for each in body:
        if isinstance(each, Loop):
            inner = each.kind is Kind.VECTOR
            found = multiplications(
                each.body,
                trips * (1 if inner else each.extent),
                each.extent if inner else lanes,
            )
            vectors += found[0]
            elements += found[1]
        elif isinstance(each, Store) and each.buffer.name.startswith("acc"):
            value = each.value
            if isinstance(value, Binary) and isinstance(value.b, Binary):
                vectors += trips
                elements += trips * lanes
    return vectors, elements


def sample(work, seed, many, threads=1):
    legal = points(work, lanes=LANES, threads=threads)
    return random.Random(seed).sample(legal, min(many, len(legal)))


@pytest.mark.parametrize("name", sorted(WORKS))
def test_the_parts_do_every_multiplication_once(name) -> None:
    work = WORKS[name]
    some = sample(work, 1, 40)
    batch, outputs, height, width = work.output.shape
    vectors = work.groups * -(-outputs // work.groups // LANES)
    expected = batch * vectors * height * width * work.depth
    seen = np.zeros(len(some))
    for places, nest in nests(work, some, lanes=LANES, threads=1):
        total = sum(part.steps * part.body.fmas for part in nest.parts)
        assert np.broadcast_to(total, len(places)).tolist() == [expected] * len(places)
        assert nest.flops == work.flops
        seen[places] += 1
    assert seen.tolist() == [1] * len(some)
    for point in some[:8]:
        made = kernel(work, point, lanes=LANES, threads=1, name="k")
        steps, products = multiplications(made.body)
        assert steps == expected
        assert 2 * products == work.flops


@pytest.mark.parametrize("name", sorted(WORKS))
def test_footprints_of_the_whole_are_the_tensors(name) -> None:
    work = WORKS[name]
    some = sample(work, 2, 30)
    batch, outputs, height, width = work.output.shape
    channels = work.input.shape[1]
    read = [
        (extent - 1) * stride + size
        for extent, stride, size in zip(
            (height, width), work.stride, work.kernel, strict=True
        )
    ]
    for _, nest in nests(work, some, lanes=LANES, threads=1):
        whole = {
            each.name: np.unique(each.footprints(nest.loops)[0]).tolist()
            for each in nest.accesses
        }
        assert whole == {
            "input": [4 * batch * channels * read[0] * read[1]],
            "weight": [4 * outputs * work.depth],
            "output": [4 * batch * outputs * height * width],
        }
        weights = 0 if work.weight else 4 * outputs * work.depth
        assert np.unique(nest.weight_bytes()).tolist() == [weights]
        inner = {each.name: each.footprints(nest.loops)[-1] for each in nest.accesses}
        # One step of the sum reads an element of the input for each pixel of the tile
        # and a weight for each of its channels.
        assert all((inner[name] <= whole[name]).all() for name in whole)


def test_chunks_are_the_trips_of_the_parallel_loops() -> None:
    work = WORKS["plain"]  # 2 samples, 4 vectors of channels, 7 rows of 9
    for fused, chunks in ((1, 2), (2, 2 * 4)):
        point = Point(7, 3, 1, 1, "nghw", fused=fused)
        ((_, nest),) = nests(work, [point], lanes=LANES, threads=2)
        assert float(np.asarray(nest.chunks).item()) == chunks
        made = kernel(work, point, lanes=LANES, threads=2, name="k")
        (top,) = (each for each in made.body if isinstance(each, Loop))
        assert (top.kind, top.extent) == (Kind.PARALLEL, chunks)


def test_weights_are_read_during_the_first_pass() -> None:
    work = WORKS["plain"]  # 9 columns in three tiles, 7 rows of one pixel each
    inside, outside, asked = nests(
        work,
        [
            Point(1, 3, 1, 1, "nghw"),
            Point(1, 3, 1, 1, "nhwg"),
            Point(1, 3, 1, 1, "gnhw", prefetch=True),
        ],
        lanes=LANES,
        threads=1,
    )
    # Without prefetch the first tile of 2 * 7 * 3 waits for all weights of its block.
    assert float(np.asarray(inside[1].first_pass).item()) == 1 / (2 * 7 * 3)
    assert float(np.asarray(outside[1].first_pass).item()) == 1 / (2 * 7 * 3)
    # With it they arrive while the block before is computed, the whole time long.
    assert float(np.asarray(asked[1].first_pass).item()) == 1.0


def test_the_space() -> None:
    big = convolution((1, 64, 28, 28), 64, 3, block=8, out=8)
    legal = points(big, lanes=LANES, threads=1)
    assert len(legal) == len(set(legal)) >= 1000
    space = knobs(big, lanes=LANES, threads=1)
    assert space.size == 4 * 28 * 8 * 4 * 6 * 2
    every = map(Point._make, itertools.product(*space.choices.values()))
    assert {each for each in every if space.legal(each)} == set(legal)
    assert max(p.rows * p.columns * p.vectors for p in legal) == 40
    assert not any(p.prefetch and p.order.endswith("g") for p in legal)


def test_loops_of_one_step_have_no_place() -> None:
    assert set(knobs(WORKS["dense"], lanes=8, threads=1).choices["order"]) == {
        "nhgw",
        "nhwg",
    }
    assert knobs(WORKS["row"], lanes=8, threads=1).choices["order"] == ["nhwg"]
    orders = knobs(WORKS["plain"], lanes=8, threads=1).choices["order"]
    # g anywhere among n, h, w; n before h and w: 4 * 2 orders.
    assert len(set(orders)) == 4 * 2
    assert all(o.index("n") < min(o.index("h"), o.index("w")) for o in orders)


def test_what_cannot_be_chosen() -> None:
    assert knobs(WORKS["computed"], lanes=8, threads=1).choices["prefetch"] == (False,)
    assert knobs(WORKS["plain"], lanes=8, threads=1).choices["fused"] == (0,)
    assert knobs(WORKS["plain"], lanes=8, threads=2).choices["fused"] == (0, 1, 2)
    few = knobs(WORKS["few"], lanes=8, threads=1).choices
    assert few["vectors"] == [1]
    assert few["unroll"] == [1, 2, 3]
    for work in WORKS.values():
        assert points(work, lanes=16, threads=1)


def test_a_row_shares_its_channels_where_outer_loops_have_one_step() -> None:
    work = dense(1, 24, 32)  # four vectors, of one sample and one pixel
    for fused, chunks in ((0, 1), (1, 4)):
        point = Point(1, 1, 1, 1, "nhwg", fused=fused)
        ((_, nest),) = nests(work, [point], lanes=LANES, threads=2)
        assert float(np.asarray(nest.chunks).item()) == chunks
        made = kernel(work, point, lanes=LANES, threads=2, name="k")
        (top,) = (each for each in made.body if isinstance(each, Loop))
        assert (top.kind is Kind.PARALLEL, top.extent) == (fused == 1, 4)
