"""A server that tells its controller what it sees, and obeys it."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trimtab.errors import ExecutionError, OverloadedError
from trimtab.serve.capacity import Target
from trimtab.serve.live.pool import Answer, Observed
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import Schedule

TARGET = Target(latency_s=0.1)
ROWS = {"x": np.zeros((5, 3), np.float32)}


class Engine:
    """In place of one: answers at once, or refuses."""

    workers = 1
    oldest_s = 0.3

    def __init__(self):
        self.schedule, self.asked = Schedule(batch=8), []
        self.full = self.wrong = False

    def ask(self, inputs, done, *, deadline_s=None, priority=1):
        self.asked.append(deadline_s)
        if self.wrong:
            raise ExecutionError("a query", rule="no rows", remedy="give some")
        if self.full:
            raise OverloadedError("a query", rule="full", remedy="wait")
        done(Answer(inputs, None, 0.02, 0.0, self.schedule.version, 5))

    def observed(self):
        # The second is of an accelerator.
        return [Observed(5, 0.01, 0.02, 0), Observed(500, 0.01, 0.02, 1)]

    def state(self):
        return {"shed": len(self.asked) if self.full else 0, "oldest_s": self.oldest_s}


class Wise:
    """In place of a controller: says what it is told to, if it sees the windows."""

    def __init__(self, schedule):
        self.schedule, self.log = schedule, []

    def observe(self, window):
        assert window.oldest_s == 0.3
        self.log.append(window.period_s)
        return self.schedule


class Broken(Wise):
    def observe(self, window):
        raise ArithmeticError("no")


def steering_of(engine, controller):
    parts: tuple[Any, Any] = (engine, controller)
    return Steering(*parts, TARGET)


def settled(condition, *, within_s=60.0):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_window_has_what_came_and_what_became_of_it():
    engine = Engine()
    side = steering_of(engine, Wise(engine.schedule))
    answers: list[Answer] = []
    side.ask(ROWS, answers.append)
    engine.full = True
    with pytest.raises(OverloadedError):
        side.ask(ROWS, answers.append)
    window = side.window(0.25)
    assert window.items == [5, 5]
    assert len(window.arrived_s) == 2
    assert window.finished == [(0, 0.02)]
    assert len(answers) == 1
    assert window.batches == [(5, 0.02)]
    assert (window.oldest_s, window.shed, window.period_s) == (0.3, 2, 0.25)
    assert side.window(0.25).items == []


def test_what_the_network_does_not_take_is_nothing_that_came():
    engine = Engine()
    side = steering_of(engine, Wise(engine.schedule))
    engine.wrong = True
    with pytest.raises(ExecutionError):
        side.ask({"x": np.zeros(())}, lambda answer: None)
    assert side.window(0.25).items == []


def test_what_would_be_late_is_refused_while_the_queue_is_old():
    engine = Engine()
    side = steering_of(engine, None)
    side.ask(ROWS, lambda answer: None)
    with side:  # its queue has waited for more than half of the target
        assert settled(lambda: side.old)
        side.ask(ROWS, lambda answer: None)
    assert engine.asked == [None, 0.1]


def test_the_controller_is_obeyed_in_a_process_of_its_own():
    engine = Engine()
    wise = Wise(replace(engine.schedule, batch=64, version=1))
    with steering_of(engine, wise) as side:
        assert settled(lambda: engine.schedule.batch == 64)
    assert side.log
    assert not wise.log


def test_without_a_controller_that_works_it_serves_on(caplog):
    engine = Engine()
    with steering_of(engine, Broken(engine.schedule)) as side:
        assert settled(lambda: not side.steered)
        side.ask(ROWS, lambda answer: None)
    assert engine.schedule.batch == 8
    assert "decides no more" in caplog.text


def test_a_deadline_is_the_queries_own_and_the_target_where_the_queue_is_old():
    engine = Engine()
    side = steering_of(engine, None)
    side.ask(ROWS, lambda answer: None, deadline_s=7.0)
    side.old = True
    side.ask(ROWS, lambda answer: None, deadline_s=7.0)
    side.ask(ROWS, lambda answer: None, deadline_s=0.01)
    side.ask(ROWS, lambda answer: None)
    side.ask(ROWS, lambda answer: None, deadline_s=0.0)
    assert engine.asked == [7.0, 0.1, 0.01, 0.1, 0.0]
