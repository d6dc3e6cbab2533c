import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.compiler.assembly.ports import busiest, share

PORTS = "abcde"

works = st.dictionaries(
    st.sets(st.sampled_from(PORTS), min_size=1).map(frozenset),
    st.integers(1, 12).map(float),
    min_size=1,
    max_size=6,
)


@given(works)
def test_shares_add_up_and_reach_the_bound(work):
    loads = dict.fromkeys(PORTS, 0.0)
    for ports, parts in share(work).items():
        assert sum(parts.values()) == pytest.approx(1)
        assert parts.keys() <= ports
        for port, part in parts.items():
            loads[port] += part * work[ports]
    assert max(loads.values()) == pytest.approx(max(busiest(work).values()))


def test_work_without_a_choice_is_not_spread():
    # One port must do 3; the shared work leaves it.
    assert share({frozenset("a"): 3.0, frozenset("ab"): 1.0}) == {
        frozenset("a"): {"a": 1.0},
        frozenset("ab"): {"b": 1.0},
    }


def test_no_work_is_shared_by_none():
    assert share({}) == {}
