"""One host of several, without a cluster around it."""

import asyncio
import contextlib

import pytest
from tests.unit.serve.live.test_engine import query, right, settings
from tests.unit.serve.live.test_opening import FOUND, TARGET

from trimtab._version import __version__
from trimtab.errors import ExecutionError, OverloadedError
from trimtab.serve.live.opening import Wanted
from trimtab.serve.live.replica import Replica
from trimtab.serve.schedule import Schedule

WANTED = Wanted(settings=settings(workers=1), target=TARGET, found=FOUND, steady=True)


@pytest.fixture(scope="module")
def replica():
    with contextlib.closing(Replica(WANTED, __version__)) as found:
        yield found


def ask(replica, *inputs):
    async def together():
        return await asyncio.gather(*map(replica, inputs))

    return asyncio.run(together())


def test_queries_are_answered_and_counted(replica):
    asked = [query(rows, seed=rows) for rows in (1, 5, 40)]
    before = replica.state()["answers"]
    answers = ask(replica, *asked)
    assert all(map(right, asked, answers))
    state = replica.state()
    assert state["answers"] == before + 3
    assert (state["id"], state["host"]) == (replica.id, replica.host)


def test_what_is_wrong_is_returned_as_what_it_is(replica):
    inputs = query(3)
    inputs["numbers"][0] = 999
    failed, absent = ask(replica, inputs, {"ids": inputs["ids"]})
    assert isinstance(failed, ExecutionError)
    assert "told to fail" in str(failed)
    assert isinstance(absent, ExecutionError)


def test_a_refusal_is_returned_with_when_to_come_again(replica):
    before, seconds = replica.engine.schedule, replica.engine._dispatcher._pool.seconds
    replica.engine._dispatcher._pool.seconds = lambda rows: 10.0
    replica.engine.schedule = Schedule(batch=8, shed=True)
    try:
        (late,) = ask(replica, query(3))
    finally:
        replica.engine._dispatcher._pool.seconds = seconds
        replica.engine.schedule = before
    assert isinstance(late, OverloadedError)
    assert late.retry_after_s >= 10
    assert replica.record_autoscaling_stats()["shed"] == 1


def test_what_scaling_looks_at_is_since_the_last_look(replica):
    ask(replica, query(30), query(30))
    first, second = (replica.record_autoscaling_stats() for _ in range(2))
    assert 0 < first["tail_s"] < 60
    assert 0 < first["busy_frac"] <= 1
    assert second["busy_frac"] == second["shed"] == 0


def test_it_describes_itself(replica):
    said = replica.describe()
    assert [each["name"] for each in said["inputs"]] == ["numbers", "ids"]
    assert said["why"] == FOUND.why


def test_it_is_ill_once_it_has_had_no_worker_for_long(replica, monkeypatch):
    replica.check_health()
    monkeypatch.setattr(replica.engine, "state", lambda: {"workers": 0})
    replica.check_health()  # one may be starting
    replica._well_s -= 61
    with pytest.raises(ExecutionError, match="none of its workers was ready for 60 s"):
        replica.check_health()


def test_another_version_is_refused_before_anything_is_opened():
    with pytest.raises(ExecutionError, match=r"this host has .* same version"):
        Replica(WANTED, "0.0.0")
