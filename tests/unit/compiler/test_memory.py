import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.compiler.memory import ALIGNMENT, Lifetime, arrange

BUFFERS = st.lists(
    st.tuples(
        st.integers(1, 500),
        st.integers(0, 6),
        st.integers(0, 4),
        st.sampled_from("ab "),
    ),
    min_size=1,
    max_size=9,
)


def _lifetimes(found):
    kinds = {"a": (64, "halo a"), "b": (128, "halo b")}
    lives = []
    for key, (size, first, length, kind) in enumerate(found):
        # Buffers of one kind have one layout, so one size.
        fixed, name = kinds.get(kind, (size, None))
        lives.append(
            Lifetime(
                key=key, size_bytes=fixed, first=first, last=first + length, kind=name
            )
        )
    return lives


@settings(max_examples=200, deadline=None)
@given(BUFFERS)
def test_what_is_alive_together_does_not_overlap(found):
    lives = _lifetimes(found)
    arena = arrange(lives)
    for one, other in itertools.combinations(lives, 2):
        together = one.first <= other.last and other.first <= one.last
        a, b = arena.offsets[one.key], arena.offsets[other.key]
        apart = a + one.size_bytes <= b or b + other.size_bytes <= a
        assert apart or (not together and one.kind == other.kind)
    for each in lives:
        offset = arena.offsets[each.key]
        assert offset % ALIGNMENT == 0
        assert offset + each.size_bytes <= arena.size_bytes
        if each.kind is not None:
            assert any(
                start <= offset and offset + each.size_bytes <= start + size
                for start, size in arena.zeroed
            ), "a halo is zero at first"


def test_a_chain_takes_two_buffers():
    chain = [Lifetime(key=i, size_bytes=64, first=i, last=i + 1) for i in range(9)]
    assert arrange(chain).size_bytes == 2 * 64


def test_nothing_to_place():
    assert arrange([]).size_bytes == 0
