"""Policies on traces: what each is, and what the controller must keep to."""

import math

import numpy as np
import pytest
from tests.unit.partition.test_controller import space  # noqa: F401 - a fixture
from tests.unit.partition.test_course import trace

from trimtab.errors import UsageError
from trimtab.partition import replay as module
from trimtab.partition.course import Pace
from trimtab.partition.live.connection import Patience
from trimtab.partition.replay import POLICIES, replay


def ran(space, rates, *policies, **more):  # noqa: F811
    course = more.pop("course", None) or trace(rates, rtt_s=0.01)
    found = replay(space, course, policies=policies or POLICIES, **more)
    return {each.policy: each for each in found}


SLOW = [10 ** (5.5 + 1.3 * math.sin(second / 20)) for second in range(240)]


def test_fixed_policies_are_what_they_say(space):  # noqa: F811
    found = ran(space, SLOW, compressed_bytes=600.0, pace=Pace(deadline_s=0.05))
    assert list(found) == list(POLICIES)
    assert found["optimum"].ratio == 1.0
    assert found["edge"].cut == "edge only"
    assert found["edge"].sent_bytes == 0
    assert found["cloud"].sent_bytes == 2_400 * 3 * 32 * 32 * 4
    assert found["compressed"].sent_bytes == 2_400 * 600
    assert found["compressed"].mean_s < found["cloud"].mean_s
    for name in ("static", "edge", "cloud", "no-probes", "adaptive"):
        assert found[name].ratio > 0.999
    assert found["static"].mean_s <= 1.001 * min(
        found["edge"].mean_s, found["cloud"].mean_s
    )
    assert found["static"].switches == found["edge"].switches == 0
    assert found["adaptive"].probe_bytes > 0
    assert found["no-probes"].probe_bytes <= 32 * 1024
    assert found["edge"].late_frac == np.mean(found["edge"].costs_s > 0.05)


def test_slow_changes_cost_little(space):  # noqa: F811
    found = ran(space, SLOW, "static", "adaptive")
    assert found["adaptive"].ratio <= 1.05
    assert found["adaptive"].mean_s < 0.9 * found["static"].mean_s


def test_flips_faster_than_probes_cost_no_more_than_the_edge_alone(space):  # noqa: F811
    """What is seen of such a link is its slow side more often than it is slow."""
    rates = [3e6 if second % 2 else 6e4 for second in range(400)]
    found = ran(space, rates, "edge", "adaptive")
    assert found["adaptive"].mean_s <= 1.05 * found["edge"].mean_s


@pytest.mark.parametrize("period", [2, 3, 5])
def test_fast_flips_cost_no_more_than_the_best_static_cut(space, period):  # noqa: F811
    rates = [3e6 if second // period % 2 else 6e4 for second in range(400)]
    found = ran(space, rates, "static", "adaptive")
    assert found["adaptive"].mean_s <= 1.05 * found["static"].mean_s


def test_it_recovers_within_two_probes(space):  # noqa: F811
    rates = ([1e7] * 20 + [2e4] * 20) * 5
    found = ran(space, rates, "adaptive", "no-probes")
    assert found["adaptive"].recovery_s is not None
    assert found["adaptive"].recovery_s <= 2 * 2.0
    assert found["adaptive"].ratio < 1.1
    assert found["no-probes"].recovery_s == 20.0


def test_a_cloud_that_was_overloaded_is_tried_again(space):  # noqa: F811
    course = trace([1e7] * 200, rtt_s=0.01)
    course.cloud_load[50:100] = 30.0
    found = ran(space, None, "static", "adaptive", course=course)
    after = found["adaptive"].costs_s[1_300:]
    assert after.mean() < 0.02  # the cloud alone; the edge takes 0.055
    assert found["adaptive"].mean_s <= 1.05 * found["static"].mean_s


def test_a_dear_switch_costs(space):  # noqa: F811
    rates = ([1e7] * 30 + [2e4] * 30) * 3
    found = ran(space, rates, "adaptive", "pause-0.6", "pause-6", "edge")
    assert found["adaptive"].mean_s <= found["pause-0.6"].mean_s
    assert found["pause-6"].switches <= found["adaptive"].switches


def test_the_same_again(space):  # noqa: F811
    first, again = (ran(space, SLOW[:60], "adaptive")["adaptive"] for _ in range(2))
    other = ran(space, SLOW[:60], "adaptive", pace=Pace(seed=1))["adaptive"]
    assert (first.costs_s == again.costs_s).all()
    assert (first.costs_s != other.costs_s).any()


@pytest.mark.parametrize("objective", ["p95", "throughput", "energy"])
def test_every_objective_has_its_optimum(space, objective):  # noqa: F811
    found = ran(space, SLOW[:100], "static", "edge", "adaptive", objective=objective)
    for each in found.values():
        assert each.ratio > 0.99
    assert found["adaptive"].ratio <= found["static"].ratio * 1.05


def test_hedging_is_that_of_an_edge():
    assert Patience().hedge == module._HEDGE
    assert Patience().hedge_s == module._HEDGE_S


def test_what_cannot_be_had_is_left_out(space):  # noqa: F811
    assert list(ran(space, SLOW[:5], "edge", "compressed")) == ["edge"]


@pytest.mark.parametrize("policies", [("magic",), ()])
def test_an_unknown_policy(space, policies):  # noqa: F811
    with pytest.raises(UsageError, match="known are optimum"):
        replay(space, trace([1e6, 1e6]), policies=policies)
