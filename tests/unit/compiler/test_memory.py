"""Places of buffers: none overlaps another, halos are kept apart, little is wasted."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.compiler.memory import ALIGNMENT, Arena, Lifetime, arrange


def rounded(size: int) -> int:
    return -(-size // 64) * 64


@st.composite
def lifetimes(draw, most=9, kinds=(None, None, "a", "b")):
    """Return buffers; those of a kind other than None have its size."""
    sizes = {"a": draw(st.integers(1, 500)), "b": draw(st.integers(1, 500))}
    found = []
    for key in range(draw(st.integers(0, most))):
        first, kind = draw(st.integers(0, 8)), draw(st.sampled_from(kinds))
        found.append(
            Lifetime(
                key=key,
                size_bytes=sizes.get(kind, draw(st.integers(0, 500))),
                first=first,
                last=first + draw(st.integers(0, 4)),
                kind=kind,
            )
        )
    return found


def together(a: Lifetime, b: Lifetime) -> bool:
    return bool({*range(a.first, a.last + 1)} & {*range(b.first, b.last + 1)})


def span(arena: Arena, each: Lifetime) -> set[int]:
    start = arena.offsets[each.key]
    return set(range(start, start + each.size_bytes))


@settings(deadline=None)
@given(lifetimes())
def test_buffers_that_live_together_do_not_overlap(buffers) -> None:
    arena = arrange(buffers)
    assert set(arena.offsets) == {each.key for each in buffers}
    for a, b in itertools.combinations(buffers, 2):
        shared = span(arena, a) & span(arena, b)
        if together(a, b) or a.kind != b.kind:
            assert not shared
        elif a.kind is not None and shared:  # zeros of one are zeros of the other
            assert arena.offsets[a.key] == arena.offsets[b.key]
    for each in buffers:
        assert arena.offsets[each.key] % ALIGNMENT == 0
        assert arena.offsets[each.key] + each.size_bytes <= arena.size_bytes


@settings(deadline=None)
@given(lifetimes())
def test_what_must_be_zero_covers_the_buffers_with_halos_only(buffers) -> None:
    arena = arrange(buffers)
    zeroed = [set(range(at, at + size)) for at, size in arena.zeroed]
    for each in buffers:
        inside = [part for part in zeroed if span(arena, each) & part]
        if each.kind is None:
            assert not inside
        elif each.size_bytes:
            assert len(inside) == 1
            assert span(arena, each) <= inside[0]


def smallest(buffers) -> int:
    """Return the least memory that any order of placing, lowest gap first, takes."""
    best = 1 << 40
    for order in itertools.permutations(buffers):
        placed: list[tuple[int, Lifetime]] = []
        for each in order:
            spots = [0, *(at + rounded(one.size_bytes) for at, one in placed)]
            place = min(
                at
                for at in spots
                if all(
                    not together(each, one)
                    or at + each.size_bytes <= there
                    or there + one.size_bytes <= at
                    for there, one in placed
                )
            )
            placed.append((place, each))
        best = min(
            best, max((at + rounded(e.size_bytes) for at, e in placed), default=0)
        )
    return best


@settings(deadline=None, max_examples=40)
@given(lifetimes(most=5, kinds=(None,)))
def test_little_is_wasted(buffers) -> None:
    assert arrange(buffers).size_bytes <= 1.5 * smallest(buffers)


def test_a_chain_takes_its_two_largest_neighbours() -> None:
    sizes = [640, 1280, 320, 1280, 640]
    buffers = [
        Lifetime(key=index, size_bytes=size, first=index, last=index + 1)
        for index, size in enumerate(sizes)
    ]
    assert arrange(buffers).size_bytes == 1280 + 640


def test_buffers_with_one_halo_take_turns() -> None:
    buffers = [
        Lifetime(key=i, size_bytes=100, first=i, last=i + 1, kind="h") for i in range(6)
    ]
    arena = arrange(buffers)
    assert arena.size_bytes == 2 * 128
    assert arena.zeroed == ((0, 2 * 128),)


def test_the_same_buffers_have_the_same_places() -> None:
    buffers = [
        Lifetime(key=i, size_bytes=100 + i % 3, first=i % 4, last=i % 4 + 2)
        for i in range(12)
    ]
    assert arrange(buffers) == arrange(buffers)
    assert arrange([]) == Arena(offsets={}, size_bytes=0, zeroed=())
