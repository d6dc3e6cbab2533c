"""The rules that simulator and dispatcher share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.serve.schedule import (
    Backlog,
    Schedule,
    coalesced,
    finish_s,
    offloads,
    split,
)


@given(st.integers(1, 5_000), st.integers(1, 2_000))
def test_chunks_are_few_equal_and_whole(items, batch):
    chunks = split(items, batch)
    assert sum(chunks) == items
    assert len(chunks) == -(-items // batch)
    assert max(chunks) <= batch
    assert max(chunks) - min(chunks) <= 1
    assert chunks == sorted(chunks, reverse=True)


@given(st.integers(1, 5_000), st.integers(1, 2_000))
def test_chunks_of_one_query_are_never_joined_again(items, batch):
    chunks = split(items, batch)
    assert coalesced(chunks, batch) == 1


@given(st.lists(st.integers(1, 300), max_size=20), st.integers(1, 600))
def test_joined_chunks_fit_a_batch_and_another_would_not(waiting, batch):
    count = coalesced(waiting, batch)
    assert (count == 0) == (not waiting)
    if count > 1:
        assert sum(waiting[:count]) <= batch
    if 0 < count < len(waiting):
        assert sum(waiting[: count + 1]) > batch


def test_a_backlog_is_first_come_first_served_within_a_priority():
    backlog: Backlog[int] = Backlog()
    for number, priority in enumerate((1, 2, 0, 1, 0)):
        backlog.push(number, 10, priority)
    assert sorted(backlog.heads()) == [0, 1, 2]
    order = [backlog.pop(64, coalesce=False)[0][1] for _ in range(5)]
    assert order == [2, 4, 0, 3, 1]
    assert len(backlog) == 0
    assert backlog.pop(64, coalesce=True) == []


def test_a_batch_is_of_one_priority():
    backlog: Backlog[int] = Backlog()
    for number, priority in enumerate((1, 0, 0)):
        backlog.push(number, 10, priority)
    assert backlog.pop(64, coalesce=True) == [(10, 1), (10, 2)]
    assert len(backlog) == 1


def test_the_predicted_finish():
    # 4 workers, all busy with 8 s of work; 2 chunks of 1 s: begins at 2, ends at 3.
    busy = {"outstanding_s": 8.0, "own_s": 2.0, "longest_s": 1.0}
    assert finish_s(0.0, **busy, idle=0, workers=4) == 8 / 4 + 1
    # One is idle: its chunk is done after 1 s, but all the work takes 10 / 4.
    assert finish_s(0.0, **busy, idle=1, workers=4) == (8 + 2) / 4
    # Nothing to do: its longest chunk.
    idle = {"outstanding_s": 0.0, "own_s": 2.0, "longest_s": 1.0}
    assert finish_s(5.0, **idle, idle=4, workers=4) == 5 + 1


def test_the_device_is_chosen_by_size_or_by_finish():
    def never():
        raise AssertionError("a threshold asks for no prediction")

    by_size = Schedule(batch=8, threshold=100)
    for items, taken in ((99, False), (100, True)):
        assert taken == offloads(
            by_size, items, workers_finish_s=never, accelerator_finish_s=0.0
        )
    assert not offloads(
        Schedule(batch=8), 10**6, workers_finish_s=never, accelerator_finish_s=0.0
    )
    by_finish = Schedule(batch=8, policy="finish")
    for end, taken in ((1.0, True), (3.0, False)):
        assert taken == offloads(
            by_finish, 1, workers_finish_s=lambda: 2.0, accelerator_finish_s=end
        )


@pytest.mark.parametrize("numbers", [{"batch": 0}, {"batch": 1, "threshold": 0}])
def test_a_schedule_has_bounds(numbers):
    with pytest.raises(UsageError, match="at least 1"):
        Schedule(**numbers)
