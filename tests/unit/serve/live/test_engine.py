"""The engine: processes that answer, die, hang, and are replaced."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.serve.live.nets import Tables

from trimtab.errors import (
    ExecutionError,
    NetworkNotFoundError,
    OverloadedError,
    UsageError,
)
from trimtab.pipeline.serving import OPENER
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.pool import Answer
from trimtab.serve.schedule import Schedule

SPEC = "tests.unit.serve.live.nets:tables"


def settings(spec=SPEC, workers=2, **more):
    return Settings(spec=spec, opener=OPENER, workers=workers, **more)


@pytest.fixture(scope="module")
def engine():
    settings = Settings(
        spec=SPEC, opener=OPENER, workers=2, overdue=20.0, overdue_s=1.0
    )
    with Engine(settings, Schedule(batch=8)) as found:
        yield found


def query(rows, seed=0):
    drawn = np.random.default_rng(seed)
    return {
        "numbers": drawn.standard_normal((rows, 4)).astype("float32"),
        "ids": drawn.integers(0, 50, (rows, 3)),
    }


def right(inputs, outputs):
    with torch.no_grad():
        found = Tables()(*(torch.from_numpy(each) for each in inputs.values()))
    return all(
        np.allclose(outputs[name], each.numpy(), atol=1e-6)
        for name, each in found.items()
    )


def settled(condition, *, within_s=60.0):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_rows_that_are_missing_are_not_made_of_others(engine):
    short = query(3)
    short["numbers"][1] = 777
    with pytest.raises(ExecutionError, match=r"\[1\] for 3 items"):
        engine(**short)
    assert right(query(3), engine(**query(3)))


def test_queries_of_any_size_are_answered(engine):
    assert engine.state()["workers"] == 2
    queries = [query(rows, rows) for rows in (1, 7, 8, 9, 50, 200)]
    futures = [engine.submit(each) for each in queries]
    for each, future in zip(queries, futures, strict=True):
        assert right(each, future.result(30))
    assert right(queries[0], engine(**queries[0]))
    state = engine.state()
    assert state["open"] == 0
    assert 0 < state["latency_p50_s"] <= state["latency_p99_s"]


def test_the_dispatcher_is_free_of_torch():
    code = (
        "import sys, trimtab.serve.live.engine; "
        "sys.exit(any(m.split('.')[0] == 'torch' for m in sys.modules))"
    )
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


def test_a_schedule_counts_for_what_comes_after_it(engine):
    before = engine.schedule.version
    engine.schedule = Schedule(batch=64)
    assert engine.schedule.version == before + 1
    answers: list[Answer] = []
    engine.ask(query(64), answers.append)
    assert settled(lambda: bool(answers))
    assert answers[0].version == before + 1
    assert [each.rows for each in engine.observed()][-1] == 64
    engine.schedule = Schedule(batch=8)


def test_a_network_that_fails_is_an_error_of_the_query(engine):
    wrong = query(20)
    wrong["numbers"][3] = 999
    with pytest.raises(ExecutionError, match="told to fail"):
        engine(**wrong)
    assert right(query(5), engine(**query(5)))
    with pytest.raises(ExecutionError, match="with 50 at"):
        engine(numbers=query(2)["numbers"], ids=np.full((2, 3), 50))
    with pytest.raises(ExecutionError, match="at most 1024"):
        engine(**query(2000))
    with pytest.raises(OverloadedError, match="in time"):
        engine.submit(query(1000), deadline_s=-1.0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_nothing_is_lost_or_answered_twice_when_a_worker_ends(engine, how):
    before = engine.restarts
    told: dict[int, int] = {}
    queries = [query(rows % 40 + 1, rows) for rows in range(300)]
    found = {}

    def done(number):
        def tell(answer):
            told[number] = told.get(number, 0) + 1
            found[number] = answer

        return tell

    for number, each in enumerate(queries):
        engine.ask(each, done(number))
        if number == 100:
            os.kill(engine._processes[0].pid, how)
    assert settled(lambda: len(told) == 300)
    assert set(told.values()) == {1}
    assert all(right(queries[each], found[each].outputs) for each in found)
    assert settled(lambda: engine.state()["workers"] == 2)
    assert engine.restarts == before + 1


def test_a_network_that_prints_a_lot_is_served():
    spec = "tests.unit.serve.live.nets:talkative"
    with Engine(settings(spec, 1, overdue_s=60.0), Schedule(batch=8)) as found:
        for _ in range(100):  # more than a pipe holds
            found.submit(query(1)).result(30)
        assert found.restarts == 0


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_what_a_terminal_or_a_unit_tells_all_of_it_leaves_workers_at_work(engine, told):
    before = engine.restarts
    for each in engine._processes:
        each.send_signal(told)
    time.sleep(0.3)  # longer than a look at the processes
    inputs = query(20)
    assert right(inputs, engine.submit(inputs).result(30))
    assert engine.restarts == before


def test_an_emulated_accelerator_takes_large_queries_and_computes_nothing():
    table = ServiceCurve(
        network="net", source="test", sizes=(1, 1024), seconds=(0.05, 0.05)
    )
    schedule = Schedule(batch=8, threshold=20)
    with Engine(settings(workers=1, accelerator=table), schedule) as both:
        small, large = query(19), query(20)
        assert right(small, both(**small))
        found: list[Answer] = []
        both.ask(large, found.append)
        assert settled(lambda: len(found) == 1)
        state = both.state()
    assert found[0].outputs is not None
    assert not any(each.any() for each in found[0].outputs.values())
    assert found[0].latency_s >= 0.05
    assert (state["offloaded"], state["workers"]) == (1, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_an_accelerator_that_is_not_here_is_refused_at_once():
    with pytest.raises(UsageError, match="no CUDA device"):
        Engine(settings(workers=1, accelerator="cuda"), Schedule(batch=8))


def test_a_priority_that_does_not_exist_is_refused(engine):
    with pytest.raises(UsageError, match="priority 3"):
        engine.submit(query(1), priority=3)


def test_what_was_taken_is_answered_before_the_end():
    with Engine(settings(workers=1), Schedule(batch=4)) as one:
        futures = [one.submit(query(30, seed)) for seed in range(50)]
    assert all(right(query(30, seed), each.result(0))
               for seed, each in enumerate(futures))  # fmt: skip
    with pytest.raises(OverloadedError, match="ending"):
        one.submit(query(1))


def test_what_cannot_be_answered_before_the_end_is_told_so():
    one = Engine(settings(workers=1), Schedule(batch=4))
    one.start()
    one._processes[0].send_signal(signal.SIGSTOP)
    futures = [one.submit(query(30, seed)) for seed in range(3)]
    one.close(within_s=0.1)
    for each in futures:
        with pytest.raises(OverloadedError, match="ending"):
            each.result(0)
    assert one.state()["open"] == 0


def test_nothing_stays_open_of_one_that_has_ended():
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    before = descriptors()
    with Engine(settings(workers=2), Schedule(batch=4)) as one:
        one(**query(3))
    Engine(settings(workers=2), Schedule(batch=4)).close()  # not started
    with pytest.raises(NetworkNotFoundError):
        Engine(settings("zoo:nothing"), Schedule(batch=4))
    del one
    gc.collect()  # a mapping has a descriptor, too, as long as it is looked at
    assert descriptors() == before


def test_what_cannot_be_served_says_why():
    with pytest.raises(NetworkNotFoundError, match="'nothing'"):
        Engine(settings("zoo:nothing"), Schedule(batch=4))


def test_a_profile_has_a_time_for_each_size(engine):
    found = engine.profile([1, 64])
    assert list(found) == [1, 64]
    assert all(0 < each < 1 for each in found.values())
