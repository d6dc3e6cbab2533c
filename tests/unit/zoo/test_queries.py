from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trimtab.errors import UsageError
from trimtab.zoo.preset import Input, sizes
from trimtab.zoo.queries import Array, Queries, check_inputs

FEATURES = Input(name="dense", shape=(3,))


def ids(*rows: int, lookups: int = 1) -> Input:
    return Input(name="ids", shape=(len(rows), lookups), rows=rows)


# A busy machine is no slow strategy.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=4),
    lookups=st.integers(1, 5),
    items=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 0.5, 0.8, 1.0, 1.1, 2.0, 4.0]),
    seed=st.integers(0, 1000),
)
def test_what_is_drawn_is_always_accepted(
    rows: list[int], lookups: int, items: int, alpha: float, seed: int
) -> None:
    inputs = (FEATURES, ids(*rows, lookups=lookups))
    drawn = Queries(inputs, seed=seed, alpha=alpha).draw(items)
    check_inputs(inputs, drawn)
    assert [each.shape for each in drawn] == [(items, 3), (items, len(rows), lookups)]


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.1, 2.0])
def test_ranks_follow_the_zipf_distribution(alpha: float) -> None:
    rows, draws = 50, 40_000
    (drawn,) = Queries([ids(rows, lookups=draws)], seed=3, alpha=alpha).draw(1)
    seen = np.sort(np.bincount(drawn.ravel(), minlength=rows))[::-1]
    chances = np.arange(1, rows + 1) ** -alpha
    expected = draws * chances / chances.sum()
    # Sorting favours the order by a little where neighbours are as frequent.
    assert stats.chisquare(seen, expected).pvalue > 1e-4


def test_popular_rows_are_elsewhere_in_each_table_and_the_same_in_each_query() -> None:
    draws = Queries([ids(*([1000] * 6), lookups=500)], seed=5)
    first, second = draws.draw(4, 0)[0], draws.draw(4, 1)[0]
    tops = [
        [int(np.bincount(each[:, table].ravel()).argmax()) for table in range(6)]
        for each in (first, second)
    ]
    assert tops[0] == tops[1]
    assert len(set(tops[0])) == 6
    assert not np.array_equal(first, second)


def test_rows_repeat_within_a_bag_as_popular_ones_do() -> None:
    """The authors' code draws ids uniformly and without repetition inside a bag."""
    (drawn,) = Queries([ids(10_000, lookups=80)], seed=0).draw(32)
    assert all(len(np.unique(bag)) < 80 for bag in drawn[:, 0])
    share = np.sort(np.bincount(drawn.ravel(), minlength=10_000))[::-1]
    assert share[:100].sum() > drawn.size * 0.4  # 1 % of the rows
    (uniform,) = Queries([ids(10_000, lookups=80)], seed=0, alpha=0).draw(32)
    share = np.sort(np.bincount(uniform.ravel(), minlength=10_000))[::-1]
    assert share[:100].sum() < uniform.size * 0.2


def test_uniform_ids_are_uniform() -> None:
    (drawn,) = Queries([ids(20, lookups=20_000)], seed=1, alpha=0).draw(1)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=20)).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_histories_never_hold_the_padding(alpha: float) -> None:
    history = Input(name="history", shape=(40,), rows=(5,), padded=True)
    (drawn,) = Queries([history], seed=0, alpha=alpha).draw(50)
    assert set(np.unique(drawn)) == {1, 2, 3, 4}


def test_a_query_is_the_same_whoever_draws_it() -> None:
    inputs = sizes("din", "small").inputs
    one, other = (Queries(inputs, seed=7) for _ in range(2))
    for query in (3, 1, 3):
        pairs = zip(one.draw(4, query), other.draw(4, query), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    changed = Queries(inputs, seed=8).draw(4, 3)
    assert not np.array_equal(one.draw(4, 3)[1], changed[1])


def test_features_are_normal() -> None:
    (drawn,) = Queries([FEATURES], seed=0).draw(4000)
    assert drawn.dtype == np.float32
    # Of 12,000 draws the mean has a standard error of about 1 / 110.
    assert abs(drawn.mean()) < 5 / 110
    assert abs(drawn.std() - 1) < 5 / 110


@pytest.mark.parametrize("alpha", [-0.1, 4.1, float("nan"), float("inf")])
def test_an_exponent_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="the exponent lies between 0 and 4"):
        Queries([ids(3)], seed=0, alpha=alpha)


def test_a_query_has_an_item() -> None:
    with pytest.raises(UsageError, match=r"^a query of 0 items: it has at least one"):
        Queries([ids(3)], seed=0).draw(0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[[2], [5]]], "ids[0, 1, 0] = 5: its table has rows 0 to 4"),
        ([[[0], [0]], [[-1], [0]]], "ids[1, 0, 0] = -1: its table has rows 0 to 2"),
        ([[[0, 0], [0, 0]]], "ids of shape (1, 2, 2) and type int64: it is ('n', 2, 1"),
        ([[[0.0], [0.0]]], "ids of shape (1, 2, 1) and type float64: it is"),
        (3, "ids of shape () and type int64"),
    ],
)
def test_ids_outside_of_their_table_are_refused(value: object, text: str) -> None:
    """The second table stands behind the first: 5 would read beyond, -1 before it."""
    with pytest.raises(UsageError) as caught:
        check_inputs([ids(3, 5)], [np.array(value)])
    assert str(caught.value).startswith(text)


def test_inputs_of_different_batches_are_refused() -> None:
    inputs = (FEATURES, ids(3))
    values: list[Array] = [np.zeros((2, 3), np.float32), np.zeros((1, 1, 1), np.int64)]
    with pytest.raises(UsageError, match=r"^ids of shape \(1, 1, 1\)"):
        check_inputs(inputs, values)
    with pytest.raises(UsageError, match=r"^1 inputs: the network takes 2"):
        check_inputs(inputs, values[:1])
