"""Divided, put together, joined: each query one right answer, whatever happens."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.serve.live.nets import Bench

from trimtab.errors import ExecutionError, OverloadedError
from trimtab.serve.schedule import Schedule


def test_a_query_is_divided_evenly_and_joined():
    bench = Bench(workers=2, batch=10)
    name = bench.ask(25)
    sizes = bench.finish()
    assert sorted(sizes) == [8, 8, 9]
    assert bench.right(name)
    answer = bench.answers[name][1]
    assert (answer.items, answer.version) == (25, 0)
    assert answer.outputs["y"].shape == (25,)


def test_small_queries_that_wait_go_together():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    names = [bench.ask(rows) for rows in (9, 2, 3, 4, 5, 30)]
    # The first went alone: nobody waited with it.
    assert bench.work(0) == 9
    assert bench.work(0) == 9  # 2, 3 and 4
    assert bench.work(0) == 5  # the next has 10
    assert bench.finish() == [10, 10, 10]
    assert all(map(bench.right, names))
    assert bench.dispatcher.counts["joined"] == 1


def test_a_free_worker_never_waits_for_company():
    bench = Bench(workers=2, batch=100, seconds=lambda rows: 1.0)
    bench.ask(1)
    bench.ask(1)
    assert [len(bench.see(number)) for number in (0, 1)] == [1, 1]


def test_short_chunks_wait_at_the_worker():
    short = Bench(workers=1, seconds=lambda rows: 1e-4)
    long = Bench(workers=1, seconds=lambda rows: 0.1)
    for bench in (short, long):
        for _ in range(3):
            bench.ask(10)
    assert len(short.see(0)) == 2  # orders, one batch each
    assert len(long.see(0)) == 1


def test_smaller_priorities_go_first():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    first, later, urgent = bench.ask(10), bench.ask(20), bench.ask(10, priority=0)
    bench.work(0)
    assert bench.right(first)
    bench.work(0)
    assert bench.right(urgent)
    assert not bench.right(later)
    bench.finish()
    assert bench.right(later)


def test_a_schedule_is_changed_without_losing_anything():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    before = bench.ask(40)
    bench.work(0)
    bench.dispatcher.schedule = Schedule(batch=40, coalesce=True, version=1)
    after = bench.ask(40)
    sizes = bench.finish()
    # What waits already goes together as the new one allows.
    assert sizes == [10, 20, 40]
    assert bench.right(before)
    assert bench.right(after)
    assert bench.answers[before][1].version == 0
    assert bench.answers[after][1].version == 1


def test_what_would_be_late_is_refused_and_what_is_late_dropped():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 0.05)
    now = time.monotonic_ns()
    kept = bench.ask(10, deadline_ns=now + int(1e9))
    with pytest.raises(OverloadedError, match="ready in time"):
        bench.ask(100, deadline_ns=now + int(2e8))
    late = bench.ask(10, deadline_ns=now + int(3e8))
    time.sleep(0.35)
    bench.finish()
    assert bench.right(kept)
    assert isinstance(bench.answers[late][1].error, OverloadedError)
    counts = bench.dispatcher.counts
    assert (counts["shed"], counts["late"]) == (1, 1)
    assert bench.dispatcher.open == 0


def test_a_full_queue_refuses_and_forgets():
    bench = Bench(workers=1, batch=10, capacity=30)
    names = [bench.ask(10) for _ in range(3)]
    with pytest.raises(OverloadedError, match="full") as caught:
        bench.ask(1)
    assert caught.value.retry_after_s > 0
    bench.finish()
    assert all(map(bench.right, names))
    assert bench.right(bench.ask(30)) is False
    bench.finish()


def test_a_network_that_fails_fails_the_query_alone():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    wrong, right = bench.ask(30), bench.ask(10)
    bench.work(0, fail="no such row")
    bench.finish()
    error = bench.answers[wrong][1].error
    assert isinstance(error, ExecutionError)
    assert "no such row" in str(error)
    assert bench.right(right)
    assert bench.dispatcher.counts["failed"] == 1


def test_by_threshold_large_queries_go_whole_to_the_accelerator():
    bench = Bench(
        workers=2, batch=10, threshold=30,
        seconds=lambda rows: 1.0, accelerator=lambda rows: 1.0,
    )  # fmt: skip
    small, large, next_large = bench.ask(29), bench.ask(30), bench.ask(40)
    assert [order[2:] for order in bench.see(1)] == [(30, 0)]
    assert bench.work(1) == 30
    assert bench.right(large)
    assert not bench.right(next_large)
    assert bench.work(1) == 40
    assert bench.finish() == [10, 10, 9]
    assert bench.right(small)
    assert bench.right(next_large)
    assert bench.dispatcher.counts["offloaded"] == 2
    assert bench.dispatcher.alive == 1


def test_by_finish_the_device_that_is_done_first_takes_a_query():
    bench = Bench(
        workers=2, batch=100, policy="finish",
        seconds=lambda rows: 1.0 * rows, accelerator=lambda rows: 4.0,
    )  # fmt: skip
    bench.ask(3)  # 3 s on the worker, 4 s on the accelerator
    assert len(bench.see(0)) == 1
    bench.ask(3)  # 3 + 3 against 4
    assert len(bench.see(1)) == 1
    bench.ask(3)  # 3 + 3 against 4 + 4
    bench.ask(3)  # 3 + 3 + 3 against 4 + 4
    assert bench.dispatcher.counts["offloaded"] == 2
    assert sorted(bench.finish()) == [3, 3, 3, 3]


def test_a_deadline_is_held_against_the_accelerator_where_that_takes_the_query():
    bench = Bench(
        workers=2, batch=10, threshold=20,
        seconds=lambda rows: 9.0, accelerator=lambda rows: 0.5,
    )  # fmt: skip
    until = time.monotonic_ns() + int(2e9)
    taken = bench.ask(20, deadline_ns=until)
    with pytest.raises(OverloadedError, match="ready in time"):
        bench.ask(5, deadline_ns=until)
    bench.finish()
    assert bench.right(taken)


def test_what_an_accelerator_had_goes_divided_to_workers():
    bench = Bench(
        workers=2, batch=10, threshold=20,
        seconds=lambda rows: 1.0, accelerator=lambda rows: 1.0,
    )  # fmt: skip
    names = [bench.ask(rows) for rows in (25, 40)]
    assert bench.dispatcher.lost(1) == 1
    bench.orders[1].clear()
    later = bench.ask(50)  # there is no accelerator now
    assert bench.dispatcher.counts["offloaded"] == 2
    sizes = bench.finish()
    assert max(sizes) <= 10
    assert sum(sizes) == 25 + 40 + 50
    assert all(map(bench.right, (*names, later)))
    assert bench.dispatcher.backlog_s == 0


@pytest.mark.parametrize("accelerator", [None, lambda rows: 0.002])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_query_has_one_right_answer_whatever_dies(accelerator, data):
    bench = Bench(
        workers=3, batch=7, capacity=200, accelerator=accelerator, policy="finish"
    )
    asked, lost = [], 0
    for _ in range(data.draw(st.integers(5, 40))):
        act = data.draw(st.sampled_from(["ask", "ask", "work", "work", "kill"]))
        worker = data.draw(st.integers(0, 2))
        if act == "ask":
            try:
                asked.append(bench.ask(data.draw(st.integers(1, 40)), object()))
            except OverloadedError:
                bench.answers.popitem()
        elif act == "work":
            bench.work(worker)
        else:
            # It may have done some of its orders, and told of them.
            if data.draw(st.booleans()):
                bench.work(worker)
            lost += bench.dispatcher.lost(worker) > 0
            bench.orders[worker].clear()
            bench.ready(worker)
    bench.finish()
    for each in asked:
        error = bench.answers[each][1].error
        assert "3 workers" in error.rule if error and lost >= 3 else bench.right(each)
    assert bench.dispatcher.open == 0
    assert bench.dispatcher._rows.taken == 0


def test_a_query_that_ends_worker_after_worker_fails_and_others_do_not():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    deadly, other = bench.ask(10), bench.ask(10)
    for _ in range(3):
        assert bench.answers[deadly][1] is None
        bench.dispatcher.lost(0)
        bench.orders[0].clear()
        bench.ready(0)
    error = bench.answers[deadly][1].error
    assert isinstance(error, ExecutionError)
    assert "3 workers" in error.rule
    bench.finish()
    assert bench.right(other)
    assert bench.dispatcher.counts["failed"] == 1
    assert (bench.dispatcher.open, bench.dispatcher.backlog_s) == (0, 0.0)


def test_who_was_joined_with_such_a_query_is_answered():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1.0)
    bench.ask(10)
    deadly, *others = (bench.ask(3) for _ in range(3))
    bench.work(0)
    lost = 0
    while orders := bench.see(0):
        if orders[0][1] > 10:  # the first row of a chunk that does no harm
            bench.work(0)
            continue
        lost += 1
        bench.dispatcher.lost(0)
        bench.orders[0].clear()
        bench.ready(0)
    assert lost == 3
    assert isinstance(bench.answers[deadly][1].error, ExecutionError)
    assert all(map(bench.right, others))


def test_what_only_waited_at_a_worker_is_not_blamed_for_its_end():
    bench = Bench(workers=1, batch=10, seconds=lambda rows: 1e-4)
    bench.ask(10)
    name = bench.ask(10)  # waits at the worker
    for _ in range(2):
        bench.dispatcher.lost(0)
        bench.orders[0].clear()
        bench.ready(0)
    bench.work(0)
    bench.finish()
    assert bench.right(name)


def test_rows_that_all_stand_apart_have_room_in_the_ring():
    bench = Bench(workers=1, batch=50_000, capacity=20_000, seconds=lambda rows: 1.0)
    # Neighbours are of different priorities, so that no two go in one range.
    names = [bench.ask(1, priority=1 + each % 2) for each in range(10_000)]
    bench.finish()
    assert all(map(bench.right, names))


def test_a_worker_that_hangs_is_named():
    bench = Bench(workers=2)
    bench.ask(5)
    assert bench.dispatcher.overdue(times=1.0, least_s=10.0) == []
    time.sleep(0.02)
    assert bench.dispatcher.overdue(times=5.0, least_s=0.0) == [0]


def test_without_workers_all_are_told():
    bench = Bench(workers=1, batch=5, seconds=lambda rows: 1.0)
    names = [bench.ask(12) for _ in range(3)]
    bench.dispatcher.lost(0)
    gone = ExecutionError("a worker", rule="it is gone", where="", remedy="wait")
    bench.dispatcher.fail(gone)
    for name in names:
        assert "it is gone" in str(bench.answers[name][1].error)
    assert bench.dispatcher.open == 0
