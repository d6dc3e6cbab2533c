"""When adapting is left for one cut, and for how long."""

import numpy as np

from trimtab.partition.safeguard import Safeguard


def failing(guard, count=110, paid=1.1):
    for _ in range(count):
        guard.see(paid, np.array([3.0, 1.0]))


def test_what_pays_goes_on():
    guard = Safeguard(2)
    for number in range(2_000):
        guard.see(0.9 if number % 2 else 1.1, np.array([1.0, 1.0]))
        assert guard.keeps(float(number)) is None


def test_little_is_concluded_from_few():
    guard = Safeguard(2)
    failing(guard, 50)
    assert guard.keeps(1.0) is None


def test_what_failed_again_soon_is_left_for_twice_as_long():
    guard = Safeguard(2)
    now, lengths = 0.0, []
    for _ in range(7):
        failing(guard)
        assert guard.keeps(now) == 1
        begun = now
        while guard.keeps(now) is not None:
            now += 0.5
        lengths.append(now - begun)
    assert lengths == [5.0, 10.0, 20.0, 40.0, 80.0, 80.0, 80.0]
    failing(guard)
    now += 1e4
    assert guard.keeps(now) == 1
    assert guard.keeps(now + 4.5) == 1
    assert guard.keeps(now + 5.0) is None


def test_a_cut_that_turns_out_bad_is_left_at_once():
    guard = Safeguard(2)
    failing(guard)
    assert guard.keeps(0.0) == 1
    for _ in range(25):
        guard.see(2.0, np.array([1.0, 2.0]))
    assert guard.keeps(2.0) is None


def test_earlier_gains_are_credit():
    guard = Safeguard(2)
    failing(guard, 300, paid=0.5)
    failing(guard, 300)
    assert guard.keeps(1.0) is None
