"""Numbers over the last minutes."""

import pytest

from trimtab.runtime.dashboard.history import History, Rates
from trimtab.runtime.dashboard.state import Target


def test_what_is_older_than_the_window_goes():
    history = History(10.0)
    for second in range(30):
        history.see({"a": float(second)}, at_s=float(second))
    found = history.trend("A", "s", {"a": "first"}, at_s=29.0)
    assert found.times_s == tuple(float(each) for each in range(-10, 1))
    assert found.lines == (("first", tuple(float(19 + each) for each in range(11))),)


def test_no_more_points_than_are_kept():
    history = History(1e9, most=5)
    for second in range(30):
        history.see({"a": 1.0}, at_s=float(second))
    assert len(history.trend("A", "s", {"a": "a"}, at_s=30.0).times_s) == 5


def test_a_quantity_that_was_not_known_is_a_gap():
    history = History(10.0)
    history.see({"a": 1.0}, at_s=0.0)
    history.see({"a": None, "b": 2.0}, at_s=1.0)
    target = Target(name="limit", value=3.0)
    found = history.trend(
        "A", "s", {"a": "a", "b": "b"}, at_s=1.0, stacked=True, target=target
    )
    assert found.lines == (("a", (1.0, None)), ("b", (None, 2.0)))
    assert found.target is target
    assert found.stacked


def test_rates_follow_a_counter_within_their_window():
    rates = Rates(2.0)
    assert rates.see({"a": 5}, at_s=0.0) == {"a": 0.0}
    found = [rates.see({"a": 5 + 3 * s}, at_s=float(s))["a"] for s in range(1, 10)]
    assert found == pytest.approx([3.0] * 9)
    later = [rates.see({"a": 32}, at_s=10.0 + s)["a"] for s in range(3)]
    assert later[-1] == 0.0
