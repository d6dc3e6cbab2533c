"""How many replicas there are to be: what Ray Serve's controller is told."""

from collections import namedtuple
from types import SimpleNamespace

from trimtab.serve.live.scaling import HeadroomPolicy

Point = namedtuple("Point", ("timestamp", "value"))


def context(at_s, target, told, running=None):
    return SimpleNamespace(
        target_num_replicas=target, current_time=at_s,
        current_num_replicas=target if running is None else running,
        raw_metrics={
            name: {
                host: [Point(at_s - 0.4, values[name]), Point(at_s - 0.1, values[name])]
                for host, values in enumerate(told)
            }
            for name in ("tail_s", "shed", "busy_frac")
        },
    )  # fmt: skip


FINE = {"tail_s": 0.2, "shed": 0.0, "busy_frac": 0.5}
LATE = {"tail_s": 2.0, "shed": 0.0, "busy_frac": 0.5}


def test_the_policy_looks_once_a_second_at_what_is_new():
    policy = HeadroomPolicy(target_s=1.0, most=3, up_looks=3)
    found = [policy(context(0.1 * at, 1, [LATE])) for at in range(100, 131)]
    assert found[:20] == [(1, {})] * 20
    assert (2, {}) in found
    assert found.index((2, {})) == 20  # the third look: at 10, 11 and 12 seconds


def test_the_policy_waits_for_replicas_that_start_or_have_not_told():
    policy = HeadroomPolicy(target_s=1.0, most=3, up_looks=1)
    assert policy(context(10.0, 2, [LATE, LATE], running=1)) == (2, {})
    assert policy(context(11.0, 2, [LATE])) == (2, {})
    assert policy(context(12.0, 2, [])) == (2, {})
    assert policy(context(13.0, 2, [FINE, LATE])) == (3, {})  # the worst one counts


def test_the_policy_takes_the_sum_of_refusals_and_no_tail_of_idle_ones():
    policy = HeadroomPolicy(target_s=1.0, most=3, up_looks=1)
    idle = {"tail_s": -1.0, "shed": 0.0, "busy_frac": 0.0}
    assert policy(context(10.0, 1, [idle])) == (1, {})
    assert policy(context(11.0, 1, [{**idle, "shed": 2.0}])) == (2, {})
