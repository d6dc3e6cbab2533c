"""Values, limits and what no other design beats."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cost.verdict import Budget
from trimtab.design.values import Design, Values, excess, keeps, limits, pareto, within
from trimtab.errors import UsageError


def values(score=1.0, parameters=100, multiply_adds=1000, latency_s=0.1, shortest=3):
    return Values(
        scores=(score - 0.1, score, score + 0.1),
        parameters=parameters,
        multiply_adds=multiply_adds,
        latency_s=latency_s,
        shortest=shortest,
    )


def test_the_score_is_that_of_the_frozen_exponent():
    assert values(score=2.5).score == 2.5


def test_limits_are_shares_of_what_there_is():
    budget = limits(values(), {"parameters": 0.5, "latency_s": 2.0})
    assert budget == Budget(parameters=50, latency_s=0.2)
    with pytest.raises(UsageError, match="a limit of 'accuracy'"):
        limits(values(), {"accuracy": 1.0})


def test_the_largest_excess_counts():
    budget = Budget(parameters=50, multiply_adds=900)
    assert excess(budget, values()) == pytest.approx(1.0)
    assert not within(budget, values())
    assert within(Budget(parameters=100), values())
    assert excess(Budget(), values()) == 0.0


def test_a_design_keeps_its_scores_and_has_no_more_layers_in_line():
    base = values(score=2.0)
    less = values(score=1.9)
    assert keeps(base, base, robust=True)
    assert keeps(less, base, robust=False)
    assert not keeps(less, base, robust=True)
    assert not keeps(replace(base, scores=(1.0, 5.0, 5.0)), base, robust=True)
    for robust in (True, False):
        assert not keeps(values(score=9.0, shortest=4), base, robust=robust)
        assert keeps(values(score=2.0, shortest=2), base, robust=robust)


DESIGNS = st.lists(
    st.builds(
        lambda score, parameters, adds: Design(
            edits=(), values=values(score, parameters, adds)
        ),
        st.integers(1, 4).map(float),
        st.integers(1, 4),
        st.integers(1, 4),
    ),
    max_size=12,
)


def beats(one, two):
    """Whether a design is as good in everything and better in something."""
    a, b = one.values, two.values
    no_worse = (
        a.score >= b.score
        and a.parameters <= b.parameters
        and a.multiply_adds <= b.multiply_adds
    )
    return no_worse and a != b


@given(DESIGNS)
def test_what_is_kept_nothing_beats_and_what_is_not_something_does(designs):
    kept = pareto(designs)
    for each in kept:
        assert not any(beats(other, each) for other in designs)
    for each in designs:
        assert each in kept or any(
            beats(other, each) or other.values == each.values for other in kept
        )
    scores = [each.values.score for each in kept]
    assert scores == sorted(scores, reverse=True)
