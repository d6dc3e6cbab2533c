"""The closed form of a nest against its iterations, one by one."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.compiler.nest import Access, Body, Nest, Part, ceil_div
from trimtab.compiler.residence import Room

TRIPS = {"a": 3, "b": 2, "c": 4, "d": 2}


@st.composite
def accesses(draw):
    """Return an access whose loops count up one of its axes without gaps, as tiles do.

    For each axis: extent inside the body, then each loop from the inside steps over
    what lies inside it, or over less (a window that slides).
    """
    loops = draw(st.permutations(sorted(TRIPS)))
    count = draw(st.integers(1, 2))
    owner = [draw(st.integers(0, count)) for _ in loops]  # which axis, or none
    axes = []
    for axis in range(count):
        mine = [name for name, one in zip(loops, owner, strict=True) if one == axis]
        extent = inside = draw(st.integers(1, 3))
        steps = {}
        for name in reversed(mine):
            steps[name] = float(draw(st.integers(1, extent)))
            extent += int(steps[name]) * (TRIPS[name] - 1)
        axes.append((float(inside), steps))
    order = tuple((name, float(TRIPS[name])) for name in loops)
    access = Access(
        name="x",
        axes=tuple(axes),
        item_bytes=4.0,
        limit=tuple(1e9 for _ in axes),
    )
    return order, access


def touched(access, loops, fixed: dict[str, int]) -> int:
    """Return how many places are touched, the outer loops standing at `fixed`."""
    found = set()
    free = [range(int(trips)) for name, trips in loops if name not in fixed]
    names = [name for name, _ in loops if name not in fixed]
    for values in itertools.product(*free):
        at = {**fixed, **dict(zip(names, values, strict=True))}
        ranges = [
            range(start, start + int(inside))
            for inside, steps in access.axes
            for start in [sum(int(step) * at[name] for name, step in steps.items())]
        ]
        found |= set(itertools.product(*ranges))
    return len(found)


@settings(deadline=None, max_examples=60)
@given(accesses())
def test_footprints_are_what_the_loops_touch(case) -> None:
    loops, access = case
    found = access.footprints(loops)
    assert len(found) == len(loops) + 1
    for level in range(len(loops) + 1):
        fixed = {name: 0 for name, _ in loops[:level]}
        assert found[level] == 4.0 * touched(access, loops, fixed)


def test_a_footprint_ends_where_the_tensor_does() -> None:
    access = Access(name="x", axes=((3.0, {"h": 3.0}),), item_bytes=4.0, limit=(7.0,))
    # Three tiles of three rows over seven rows.
    assert [float(each) for each in access.footprints([("h", 3.0)])] == [28.0, 12.0]


def matrices(n: float, k: float, m: float):
    """Return y[n, m] += x[n, k] * w[k, m], the loops in the order n, m, k."""
    return Nest(
        loops=(("n", n), ("m", m), ("k", k)),
        parts=(Part(body=Body(fmas=1.0), steps=n * m * k),),
        accesses=(
            Access(
                name="x",
                axes=((1.0, {"n": 1.0}), (1.0, {"k": 1.0})),
                item_bytes=4.0,
                limit=(n, k),
            ),
            Access(
                name="w",
                axes=((1.0, {"k": 1.0}), (1.0, {"m": 1.0})),
                item_bytes=4.0,
                limit=(k, m),
                weight=True,
            ),
            Access(
                name="y",
                axes=((1.0, {"n": 1.0}), (1.0, {"m": 1.0})),
                item_bytes=4.0,
                limit=(n, m),
                written=True,
            ),
        ),
        flops=2 * n * m * k,
    )


def fetched(n: int, k: int, m: int, lines: int) -> tuple[int, int]:
    """Return reads and writes of memory with an ideal cache of that many elements.

    Least recently used goes first; what was written is written back.
    """
    cache: dict[tuple[str, int, int], bool] = {}
    reads = writes = 0
    for i, j, p in itertools.product(range(n), range(m), range(k)):
        for place, dirty in (
            (("x", i, p), False), (("w", p, j), False), (("y", i, j), True),
        ):  # fmt: skip
            was = cache.pop(place, None)
            reads += was is None
            cache[place] = dirty or bool(was)
            if len(cache) > lines:
                oldest = next(iter(cache))
                writes += cache.pop(oldest)
    return reads, writes + sum(cache.values())


def test_traffic_is_that_of_an_ideal_cache() -> None:
    n, k, m = 6, 5, 4
    nest = matrices(n, k, m)
    whole = n * k + k * m + n * m  # elements of all three
    row = k + k * m + m  # of one step of n
    column = k + k + 1  # of one step of m
    found = nest.traffic([Room(size_bytes=4.0 * row), Room(size_bytes=4.0 * column)])
    # The model asks for room for one step. A cache needs some for what the next step
    # brings, before what the last one left goes.
    for room, moved in zip((row + k + m + 2, column + 2), found, strict=True):
        reads, writes = fetched(n, k, m, room)
        assert moved == 4 * (reads + writes)
    # With room for one row: all of x and y once (y read and written), w once.
    assert found[0] == 4 * (n * k + k * m + 2 * n * m)
    # With room for one column: x stays for a row, w comes again for every row.
    assert found[1] == 4 * (n * k + n * k * m + 2 * n * m)
    # Room for everything: nothing comes from behind, it is there since the last call.
    assert nest.traffic([Room(size_bytes=4.0 * whole)]) == [0.0]


def test_windows_that_slide_fetch_a_row_once() -> None:
    image = Access(
        name="x",
        axes=((3.0, {"h": 1.0}), (8.0, {"w": 8.0})),
        item_bytes=4.0,
        limit=(10.0, 40.0),
    )
    nest = Nest(loops=(("h", 8.0), ("w", 5.0)), parts=(), accesses=(image,), flops=1.0)
    three, two = Room(size_bytes=3 * 40 * 4.0), Room(size_bytes=2 * 40 * 4.0)
    # With room for the rows of a step, two of three are there from the step before.
    assert nest.traffic([three]) == [10 * 40 * 4]
    assert nest.traffic([two]) == [8 * 3 * 40 * 4]


def test_without_room_everything_comes_every_time() -> None:
    n, k, m = 6, 5, 4
    assert matrices(n, k, m).traffic([Room(size_bytes=0.0)]) == [
        4 * (n * m * k + n * m * k + 2 * n * m)  # y stays where it is, for one sum
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_a_larger_cache_never_fetches_more(n, k, m) -> None:
    sizes = [Room(size_bytes=4.0 * each) for each in range(0, 260, 7)]
    found = [float(each) for each in matrices(n, k, m).traffic(sizes)]
    assert found == sorted(found, reverse=True)


def test_many_schedules_are_judged_as_each_would_be() -> None:
    ks = np.array([2.0, 3.0, 9.0])
    together = matrices(4.0, ks, 5.0).traffic([Room(size_bytes=80.0)])[0]  # type: ignore[arg-type]
    alone = [
        matrices(4.0, float(k), 5.0).traffic([Room(size_bytes=80.0)])[0] for k in ks
    ]
    assert together.tolist() == [float(each) for each in alone]


def test_weights() -> None:
    assert matrices(6, 5, 4).weight_bytes() == 4 * 5 * 4
    assert Nest(loops=(), parts=(), accesses=(), flops=0.0).weight_bytes() == 0.0


def test_steps_that_cover() -> None:
    assert ceil_div(7.0, 2.0) == 4.0
    assert ceil_div(np.array([6.0, 7.0]), 3.0).tolist() == [2.0, 3.0]
