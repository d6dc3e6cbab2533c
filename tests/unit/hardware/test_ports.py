import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from trimtab.hardware.cores import MicroOp
from trimtab.hardware.ports import busiest, work_of

PORTS = "abcde"

works = st.dictionaries(
    st.sets(st.sampled_from(PORTS), min_size=1).map(frozenset),
    st.integers(1, 12).map(float),
    min_size=1,
    max_size=6,
)


def least_load(work):
    """Solve the assignment as a linear program: shares and the largest load."""
    sets = list(work)
    size = len(sets) * len(PORTS) + 1
    equal, total = np.zeros((len(sets), size)), []
    allowed = []
    for row, ports in enumerate(sets):
        for column, port in enumerate(PORTS):
            equal[row, row * len(PORTS) + column] = 1
            allowed.append((0, None) if port in ports else (0, 0))
        total.append(work[ports])
    below = np.zeros((len(PORTS), size))
    for column in range(len(PORTS)):
        below[column, column : size - 1 : len(PORTS)] = 1
        below[column, -1] = -1
    cost = np.zeros(size)
    cost[-1] = 1
    found = linprog(
        cost,
        A_ub=below,
        b_ub=np.zeros(len(PORTS)),
        A_eq=equal,
        b_eq=total,
        bounds=[*allowed, (0, None)],
    )
    return found.fun


@given(works)
def test_the_bound_is_the_optimum_of_the_linear_program(work):
    assert max(busiest(work).values()) == pytest.approx(least_load(work))


def test_work_is_added_up_by_ports():
    ab, a = frozenset("ab"), frozenset("a")
    uops = [MicroOp(ports=ab), MicroOp(ports=a, cycles=3), MicroOp(ports=ab)]
    assert work_of(uops) == {ab: 1 + 1, a: 3}


def test_families_of_ports_are_reported_apart():
    found = busiest({frozenset("ab"): 3.0, frozenset("c"): 2.0})
    assert found == {frozenset("ab"): 3 / 2, frozenset("c"): 2.0}


def test_no_work_is_no_load():
    assert busiest({}) == {}
