"""Which host a query goes to, and how many hosts there are: rules without a cluster."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.serve.cluster import (
    Autoscaler,
    Look,
    Outstanding,
    Scaling,
    parse_replicas,
)

HOSTS = ["a", "b", "c"]


def test_a_query_goes_where_the_fewest_items_wait_not_the_fewest_queries():
    book: Outstanding[str] = Outstanding()
    book.take(1, "a", 1000)
    for query in range(2, 12):
        host = book.ranked(["a", "b"])[0]
        book.take(query, host, 10)
    assert (book.items("a"), book.items("b")) == (1000, 10 * 10)
    book.done(1)
    assert book.ranked(["a", "b"]) == ["a", "b"]


def test_equal_hosts_take_turns():
    book: Outstanding[str] = Outstanding()
    order = []
    for query in range(6):
        order.append(book.ranked(HOSTS)[0])
        book.take(query, order[-1], 5)
        book.done(query)
    assert order == HOSTS + HOSTS


def test_a_query_that_moves_leaves_the_other_host():
    book: Outstanding[str] = Outstanding()
    book.take(1, "a", 7)
    book.move(1, "b")
    book.move(2, "b")  # nobody knows it
    assert (book.items("a"), book.items("b"), book.queries) == (0, 7, 1)


def test_a_host_that_is_gone_is_forgotten_once_its_queries_have_ended():
    book: Outstanding[str] = Outstanding()
    book.take(1, "a", 7)
    book.keep(["b"])
    assert book.items("a") == 7
    book.done(1)
    book.keep(["b"])
    assert not book._items
    assert not book._last


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 2)), max_size=60),
    st.integers(1, 3),
)
def test_items_are_those_of_open_queries_and_even(queries, hosts):
    """Each query goes to the least loaded: loads differ by one query at most."""
    book: Outstanding[str] = Outstanding()
    open_: dict[int, tuple[str, int]] = {}
    finished = False
    for query, (items, kind) in enumerate(queries):
        host = book.ranked(HOSTS[:hosts])[0]
        book.take(query, host, items)
        open_[query] = (host, items)
        if kind == 2:
            finished = True
            ended = min(open_)
            book.done(ended)
            book.done(ended)  # twice is once
            del open_[ended]
        loads = [
            sum(items for where, items in open_.values() if where == host)
            for host in HOSTS[:hosts]
        ]
        assert [book.items(host) for host in HOSTS[:hosts]] == loads
        if not finished:
            assert max(loads) - min(loads) <= max(items for items, _ in queries)
    assert book.queries == len(open_)


# How many

TARGET_S = 0.1
SCALING = Scaling(
    target_s=TARGET_S, most=4, up_looks=3, down_looks=5, calm_looks=2
)  # fmt: skip


def look(hosts, tail_s=0.05, shed=0.0, busy_frac=0.5):
    return Look(hosts=hosts, tail_s=tail_s, shed=shed, busy_frac=busy_frac)


def actions(autoscaler, seen, times):
    return [autoscaler.observe(seen).action for _ in range(times)]


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (look(1, tail_s=0.095), "5 % of the target are left"),
        (look(1, tail_s=0.5), "-400 % of the target are left"),
        (look(1, shed=2.0), "2 queries were refused"),
        (look(1, busy_frac=0.9), "workers are busy 90 % of the time"),
    ],
)
def test_it_grows_when_headroom_is_lost_for_some_looks(seen, why):
    autoscaler = Autoscaler(SCALING)
    assert actions(autoscaler, seen, 2) == ["keep"] * 2
    step = autoscaler.observe(seen)
    assert (step.action, step.hosts, step.why) == ("grow", 2, why)


def test_one_good_look_between_begins_anew():
    autoscaler = Autoscaler(SCALING)
    bad, good = look(1, tail_s=0.2), look(1)
    assert actions(autoscaler, bad, 2) + actions(autoscaler, good, 1) == ["keep"] * 3
    assert actions(autoscaler, bad, 3) == ["keep", "keep", "grow"]


def test_after_a_change_what_was_seen_before_it_passes():
    autoscaler = Autoscaler(SCALING)
    actions(autoscaler, look(1, tail_s=0.2), 3)
    calm, judged = 2, 3
    assert actions(autoscaler, look(2, tail_s=0.2), calm + judged) == [
        *["keep"] * (calm + judged - 1), "grow",
    ]  # fmt: skip


def test_it_shrinks_only_where_one_less_is_predicted_to_do():
    # Three hosts, busy 30 %: two would be busy 45 %, and the tail grow by 0.7 / 0.55.
    most_s = (1 - SCALING.down_frac) * TARGET_S * (1 - 0.45) / (1 - 0.3)
    for tail_s, found in ((0.99 * most_s, "shrink"), (1.01 * most_s, "keep")):
        autoscaler = Autoscaler(SCALING)
        seen = look(3, tail_s=tail_s, busy_frac=0.3)
        assert actions(autoscaler, seen, 5) == [*["keep"] * 4, found]
    # Of two that are busy 35 %, one would be busy 70 %: too much.
    assert set(actions(Autoscaler(SCALING), look(2, 0.001, 0, 0.35), 20)) == {"keep"}


def test_nothing_asked_is_no_need():
    autoscaler = Autoscaler(SCALING)
    step = [autoscaler.observe(look(2, tail_s=None, busy_frac=0)) for _ in range(5)][-1]
    assert (step.action, step.hosts, step.headroom_frac) == ("shrink", 1, 1.0)


def looks_until(autoscaler, action, seen):
    for looks in range(1, 1_000):
        if autoscaler.observe(seen).action == action:
            return looks
    raise AssertionError(action)


IDLE, LATE = look(2, tail_s=0.001, busy_frac=0.1), look(1, tail_s=0.2)


def test_one_that_shrank_too_early_waits_twice_as_long():
    autoscaler = Autoscaler(SCALING)
    waited = []
    for _ in range(4):
        waited.append(looks_until(autoscaler, "shrink", IDLE))
        assert looks_until(autoscaler, "grow", LATE) == 2 + 3
    assert waited == [5, 2 + 10, 2 + 20, 2 + 40]


def test_a_growth_long_after_is_of_another_load():
    autoscaler = Autoscaler(SCALING)
    looks_until(autoscaler, "shrink", IDLE)
    looks_until(autoscaler, "grow", LATE)
    assert autoscaler.patience == 10
    looks_until(autoscaler, "shrink", IDLE)
    assert set(actions(autoscaler, look(1), 100)) == {"keep"}
    looks_until(autoscaler, "grow", LATE)
    assert autoscaler.patience == 5


def test_a_number_outside_of_the_limits_is_led_back():
    autoscaler = Autoscaler(Scaling(target_s=1.0, least=2, most=3))
    assert autoscaler.observe(look(1)).hosts == 2
    assert autoscaler.observe(look(5)).hosts == 3


@settings(deadline=None)
@given(
    tails=st.lists(st.floats(0.001, 1.0), min_size=4, max_size=4),
    work=st.floats(0.0, 4.0),
    first=st.integers(1, 4),
)
def test_under_a_steady_load_changes_become_rare(tails, work, first):
    """However tails depend on the number of hosts, if more hosts are never slower."""
    falling = sorted(tails, reverse=True)
    autoscaler = Autoscaler(SCALING)
    hosts, changes, looks = first, 0, 3_000
    for _ in range(looks):
        busy = min(1.0, work / hosts)
        step = autoscaler.observe(look(hosts, falling[hosts - 1], 0, busy))
        assert SCALING.least <= step.hosts <= SCALING.most
        changes += step.hosts != hosts
        hosts = step.hosts
    # Each way back costs twice the patience of the last one, up to 64 times the first.
    ways_back = math.log2(64) + 1 + looks / (64 * SCALING.down_looks)
    assert changes <= (SCALING.most - 1) + 2 * ways_back


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans())))
def test_it_never_leaves_its_limits_nor_shrinks_without_headroom(seen):
    autoscaler = Autoscaler(SCALING)
    hosts = 2
    for tail_s, busy, shed in seen:
        step = autoscaler.observe(look(hosts, tail_s, float(shed), busy))
        assert 1 <= step.hosts <= 4
        if step.action == "shrink":
            assert step.hosts == hosts - 1
            assert step.headroom_frac >= SCALING.down_frac
            assert not shed
        if step.action == "grow":
            assert step.hosts > hosts
            assert shed or step.headroom_frac < 0.1 or busy > SCALING.busy_frac
        hosts = step.hosts


@pytest.mark.parametrize(
    "wrong",
    [
        {"least": 3, "most": 2}, {"least": 0}, {"up_frac": 0.5}, {"calm_looks": -1},
        {"down_busy_frac": 0.9}, {"up_looks": 0}, {"target_s": math.inf},
    ],
)  # fmt: skip
def test_thresholds_that_meet_are_refused(wrong):
    with pytest.raises(UsageError, match="stricter than what asks for more"):
        Scaling(**{"target_s": 1.0, **wrong})


def test_replicas_are_a_number_or_two():
    assert parse_replicas("4") == (4, 4)
    assert parse_replicas("2..3") == (2, 3)
    for wrong in ("", "0", "4..1", "1..", "..4", "-1", "1.5", "x", "9" * 50, "1..2..3"):
        with pytest.raises(UsageError, match=r"as in 1\.\.4"):
            parse_replicas(wrong)
