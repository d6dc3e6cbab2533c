"""Load at given times: nothing that a server does makes it ask less."""

import threading
import time

import numpy as np
import pytest

from trimtab.errors import ExecutionError, OverloadedError
from trimtab.serve.capacity import Target
from trimtab.serve.live import load
from trimtab.serve.live.arena import Field
from trimtab.serve.live.load import Drawn, Sampled, run
from trimtab.serve.verdict import ENDS, judge
from trimtab.serve.workload import Trace


def every(seconds, count, items=1):
    at = seconds * np.arange(1, count + 1, dtype=np.float64)
    return Trace(at_s=at, items=np.full(count, items, np.int64))


class Stalling:
    """Answers one query after another at once, but for a while of nothing."""

    def __init__(self, stall_at=None, stall_s=0.0):
        self.waiting, self.asked, self.stop = [], [], threading.Event()
        self.stall_at, self.stall_s = stall_at, stall_s
        self.thread = threading.Thread(target=self.work, daemon=True)

    def prepare(self, items, number):
        return number

    def send(self, query, scheduled_ns, done):
        self.asked.append(query)
        self.waiting.append((query, done))

    def work(self):
        while not self.stop.is_set() or self.waiting:
            while self.waiting:
                query, done = self.waiting.pop(0)
                if query == self.stall_at:
                    time.sleep(self.stall_s)
                done(None)
            time.sleep(0.0005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_a_stall_of_a_second_is_in_the_tail():
    # 300 queries in 3 s, and a third of them due while nothing is answered: whoever
    # waits for an answer before the next question would see one slow query of 200.
    with Stalling(stall_at=150, stall_s=1.0) as subject:
        ran = run(subject, every(0.01, 300))
    assert subject.asked == list(range(300))
    report = judge(ran, Target(latency_s=0.2))
    assert report.ends["answered"] == report.issued == 300
    assert report.latency_s["p99"].value > 0.8
    assert (ran.latency_s > 0.2).sum() >= 70
    assert any("are over 200 ms" in each for each in report.reasons)


def test_queries_are_sent_at_their_times_not_after_answers():
    with Stalling() as subject:
        ran = run(subject, every(0.002, 100))
    assert ran.latency_s.size == ran.delay_s.size == ran.planned == 100
    assert (ran.delay_s >= 0).all()
    assert (ran.latency_s >= ran.delay_s).all()


class Odd:
    """Refuses, fails, answers, or says nothing, in turn."""

    def prepare(self, items, number):
        return number

    def send(self, query, scheduled_ns, done):
        errors = [
            None,
            OverloadedError("a query", rule="full", remedy="wait"),
            ExecutionError("a query", rule="it broke", remedy="look"),
        ]
        if query % 4 < 3:
            done(errors[query % 4])


def test_every_end_is_told_apart():
    ran = run(Odd(), every(0.001, 40), wait_s=0.05)
    assert [int((ran.ends == at).sum()) for at in range(len(ENDS))] == [10] * 4
    assert np.isfinite(ran.latency_s).sum() == 10
    assert "it broke" in ran.error


def test_where_too_many_are_open_it_stops(monkeypatch):
    monkeypatch.setattr(load, "_MOST_OPEN", 10)

    class Silent(Odd):
        def send(self, query, scheduled_ns, done):
            pass

    report = judge(run(Silent(), every(0.001, 100), wait_s=0.0))
    assert report.issued == 11
    assert any("stopped after 11 of 100" in each for each in report.reasons)


FIELDS = [
    Field(name="x", dtype="float32", shape=(3,)),
    Field(name="half", dtype="float16", shape=()),
    Field(name="ids", dtype="int32", shape=(2, 4), bounds=(5, 1000)),
    Field(name="one", dtype="int64", shape=(6,), bounds=(7,)),
    Field(name="flag", dtype="bool", shape=(2,)),
]


@pytest.mark.parametrize("items", [1, 17, 64])
def test_inputs_are_of_their_fields(items):
    drawn = Drawn(FIELDS, most_items=64)
    found = drawn.draw(items, 3)
    for each in FIELDS:
        assert found[each.name].shape == (items, *each.shape)
        assert str(found[each.name].dtype) == each.dtype
    assert (found["ids"] >= 0).all()
    assert (found["ids"] < np.array([5, 1000]).reshape(2, 1)).all()
    again = Drawn(FIELDS, most_items=64).draw(items, 3)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_some_ids_are_popular():
    ids = Drawn(FIELDS, most_items=1024).draw(1024, 0)["ids"][:, 1]
    _, counts = np.unique(ids, return_counts=True)
    assert counts.max() > 10 * np.median(counts)


def test_examples_are_asked_one_behind_the_other_and_repeated_if_few():
    rows = Sampled({"x": np.arange(10), "y": np.arange(10) * 2}, most_items=3)
    drawn = [rows.draw(3, number) for number in range(50)]
    for each in drawn:
        assert each["x"].tolist() == list(range(each["x"][0], each["x"][0] + 3))
        assert (each["y"] == 2 * each["x"]).all()
    assert {int(each["x"][0]) for each in drawn} == set(range(8))  # 10 - 3 + 1 starts
    few = Sampled({"x": np.arange(2)}, most_items=5)
    assert few.draw(5, 3)["x"].tolist() == [0, 1, 0, 1, 0]
