"""Traces: reproducible, and the same queries at every rate."""

import numpy as np
import pytest

from trimtab.errors import UsageError
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Trace, Workload

WORK = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))


def test_a_seed_is_a_trace():
    first, again, other = (
        WORK.trace(rate_per_s=10.0, count=500, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.at_s, again.at_s)
    np.testing.assert_array_equal(first.items, again.items)
    assert (first.items != other.items).any()


def test_queries_are_the_same_at_another_rate():
    slow, fast = (
        WORK.trace(rate_per_s=rate, count=500, seed=1) for rate in (10.0, 40.0)
    )
    np.testing.assert_array_equal(slow.items, fast.items)
    np.testing.assert_allclose(slow.at_s, 4 * fast.at_s)
    assert fast.rate_per_s == pytest.approx(40.0, rel=0.2)


def test_a_duration_holds_what_arrives_within():
    within = WORK.trace(rate_per_s=50.0, duration_s=20.0, seed=3)
    assert within.at_s[-1] < 20.0
    assert len(within) == pytest.approx(1_000, rel=0.1)
    longer = WORK.trace(rate_per_s=50.0, count=len(within) + 1, seed=3)
    assert longer.at_s[-1] >= 20.0
    np.testing.assert_array_equal(longer.at_s[:-1], within.at_s)


@pytest.mark.parametrize(
    ("rate", "length"),
    [(0.0, {"count": 5}), (1.0, {}), (1.0, {"count": 0}), (1.0, {"duration_s": 0.0}),
     (1.0, {"count": 5, "duration_s": 1.0}), (float("nan"), {"count": 5}),
     (1.0, {"count": 10**9})],
)  # fmt: skip
def test_bounds(rate, length):
    with pytest.raises(UsageError, match="queries a second"):
        WORK.trace(rate_per_s=rate, seed=0, **length)


@pytest.mark.parametrize(
    ("at", "items"),
    [([], []), ([1.0], [1, 2]), ([2.0, 1.0], [1, 1]), ([1.0], [0]), ([-1.0], [1]),
     ([np.nan], [1])],
)  # fmt: skip
def test_what_is_no_trace(at, items):
    with pytest.raises(UsageError, match="a trace of"):
        Trace(at_s=np.array(at), items=np.array(items, dtype=np.int64))
