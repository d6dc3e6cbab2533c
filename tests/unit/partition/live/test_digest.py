"""Decisions in short."""

import pytest

from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Decision
from trimtab.partition.live.digest import JUDGED_S, Digest, name_of

AT = Conditions(uplink_bytes_per_s=1e6, rtt_s=0.01)


def decision(number, name, *, at_s=None, actual_s=0.2, best_s=0.1):
    return Decision(
        number=number, at_s=float(number if at_s is None else at_s), index=0, name=name,
        codec="raw", predicted_s=0.1, runner_up="edge only", runner_up_s=0.3,
        second=1, wanted=0,
        conditions=AT, switched=False, actual_s=actual_s,
        best_s=None if actual_s is None else best_s,
    )  # fmt: skip


def test_equal_decisions_in_a_row_are_one_run():
    digest = Digest()
    names = ["a", "a", "b", "a"]
    begun = digest.take([decision(*each) for each in enumerate(names)], at_s=4.0)
    assert begun == list(digest.runs)
    assert [(run.name, run.requests, run.begin_s) for run in digest.runs] == [
        ("a, raw", 2, 0.0), ("b, raw", 1, 2.0), ("a, raw", 1, 3.0),
    ]  # fmt: skip
    first = digest.runs[0]
    assert (first.predicted_s, first.actual_s) == (0.1, 0.2)
    assert first.regret_s == pytest.approx(0.2 - 0.1)
    assert digest.since == 4
    assert (first.first.number, first.last.number) == (0, 1)
    assert digest.take([decision(4, "a")], at_s=5.0) == []


def test_one_that_is_not_settled_makes_later_ones_wait_for_a_while():
    digest = Digest()
    waiting = [decision(0, "a", actual_s=None), decision(1, "b")]
    digest.take(waiting, at_s=2.0)
    assert (digest.since, len(digest.runs)) == (0, 0)
    digest.take(waiting, at_s=3.5)
    assert digest.since == 2
    assert digest.runs[0].actual_s is None
    assert digest.runs[0].requests == 1


def test_errors_and_regret_are_those_of_the_last_minute():
    digest = Digest()
    assert digest.error_frac(0.0) is None
    assert digest.regret_frac(0.0) is None
    digest.take([decision(0, "a"), decision(1, "a", actual_s=0.1)], at_s=1.0)
    assert digest.error_frac(1.0) == pytest.approx((abs(0.1 / 0.2 - 1) + 0) / 2)
    assert digest.regret_frac(1.0) == pytest.approx((0.2 - 0.1) / (0.2 + 0.1))
    assert digest.regret_frac(2.0 + JUDGED_S) is None


def test_the_edge_alone_has_no_codec():
    assert name_of("edge only", "raw") == "edge only"
