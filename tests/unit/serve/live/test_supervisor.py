"""Processes that end: told of, started anew, given up where they never get ready."""

import json
import subprocess
import sys
import threading
import time

import pytest
from tests.unit.serve.live.nets import Bench

from trimtab.errors import ExecutionError, NetworkNotFoundError, TrimtabError
from trimtab.serve.live import supervisor as supervisors
from trimtab.serve.live.supervisor import Supervisor, of_child

ERROR = {"error": {"error": "NetworkNotFoundError", "asked": "it", "rule": "no",
                   "where": "here", "remedy": "none"}}  # fmt: skip
SAYS = f"print({json.dumps(ERROR)!r})"
WAITS = "import sys; sys.stdin.read()"


def child(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def supervisor(bench, start, **more):
    settings = {"overdue": 50.0, "overdue_s": 5.0} | more
    return Supervisor(1, start, bench.dispatcher, threading.Lock(), **settings)


def settled(condition, *, within_s=60.0):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_one_that_dies_is_started_anew_and_its_work_is_not_lost():
    bench = Bench(workers=1)
    watching = supervisor(bench, lambda number: child(WAITS))
    watching.start()
    try:
        name = bench.ask(5)
        bench.see(0)
        watching.processes[0].kill()
        assert settled(lambda: watching.restarts == 1)
        bench.orders[0].clear()
        bench.ready(0)
        bench.finish()
        assert bench.right(name)
    finally:
        watching.end()
    assert watching.processes[0].returncode == 0


def test_one_that_hangs_is_killed_and_started_anew():
    bench = Bench(workers=1, seconds=lambda rows: 1e-4)
    watching = supervisor(bench, lambda number: child(WAITS), overdue_s=0.1)
    watching.start()
    try:
        first = watching.processes[0]
        bench.ask(5)
        assert settled(lambda: watching.restarts == 1)
        assert first.returncode < 0
    finally:
        watching.end()


def test_one_that_never_gets_ready_is_given_up_and_says_why():
    bench = Bench(workers=1)
    bench.dispatcher.lost(0)
    name = bench.ask(5)
    watching = supervisor(bench, lambda number: child(SAYS))
    watching.start()
    try:
        assert settled(lambda: watching.broken is not None)
        assert isinstance(bench.answers[name][1].error, NetworkNotFoundError)
    finally:
        watching.end()
    assert watching.errors == {0: watching.broken}
    assert str(watching.broken).startswith("it")
    assert watching.restarts == 4


def test_one_that_hangs_before_it_is_ready_is_given_up_in_the_end():
    bench = Bench(workers=1)
    bench.dispatcher.lost(0)
    name = bench.ask(5)
    watching = supervisor(bench, lambda number: child(WAITS), ready_s=0.05)
    watching.start()
    try:
        assert settled(lambda: watching.broken is not None)
        assert isinstance(bench.answers[name][1].error, ExecutionError)
        assert watching.processes[0].returncode == -9
    finally:
        watching.end()


def test_one_that_has_no_process_for_now_is_started_later():
    bench = Bench(workers=1)
    refused: list[int] = []

    def start(number):
        if len(refused) in (1, 2):
            refused.append(number)
            raise BlockingIOError(11, "no process for now")
        refused.append(number)
        return child(WAITS)

    watching = supervisor(bench, start)
    watching.start()
    try:
        watching.processes[0].kill()
        assert settled(lambda: watching.restarts == 1)
        assert (len(refused), watching.errors) == (4, {})
    finally:
        watching.end()


def test_one_that_starts_is_waited_for_when_another_is_given_up():
    bench = Bench(workers=2)
    for number in range(2):
        bench.dispatcher.lost(number)
    name = bench.ask(5)
    watching = Supervisor(
        2, lambda number: child(WAITS if number else SAYS), bench.dispatcher,
        threading.Lock(), overdue=50.0, overdue_s=5.0,
    )  # fmt: skip
    watching.start()
    try:
        assert settled(lambda: watching.errors)
        assert watching.broken is None
        bench.ready(1)
        bench.finish()
        assert bench.right(name)
    finally:
        watching.end()


def test_a_child_that_says_nothing_for_too_long_is_ended(monkeypatch):
    started = []

    def spawned(told, passed):
        started.append(child("import time; time.sleep(60)"))
        return started[0]

    monkeypatch.setattr(supervisors, "spawn", spawned)
    monkeypatch.setattr(supervisors, "_START_S", 0.1)
    with pytest.raises(ExecutionError, match="not ready within"):
        supervisors.asked({}, ())
    assert started[0].returncode == -9


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, ExecutionError),
        (ERROR, NetworkNotFoundError),
        ({"error": {"error": "Nonsense", "asked": "a", "rule": "r",
                    "where": "w", "remedy": "m"}}, ExecutionError),
    ],
)  # fmt: skip
def test_what_a_child_says_is_an_error_of_its_kind(said, kind):
    found = of_child(said, -9)
    assert type(found) is kind
    assert isinstance(found, TrimtabError)
