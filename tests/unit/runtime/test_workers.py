"""One long-lived thread does the jobs of all callers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from trimtab.runtime import workers
from trimtab.runtime.workers import Worker, worker


def test_jobs_of_all_callers_run_on_one_thread_one_after_another() -> None:
    one = Worker("one", lambda: None)
    running, most, threads = 0, 0, set()

    def job(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.get_ident())
        running -= 1
        return value * value

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda value: one.run(lambda: job(value)), range(200)))
    assert found == [value * value for value in range(200)]
    assert (most, len(threads)) == (1, 1)
    assert threading.get_ident() not in threads


def test_an_exception_travels_back_and_the_thread_goes_on() -> None:
    one = Worker("one", lambda: None)

    def fail() -> None:
        raise ValueError("a job that fails")

    with pytest.raises(ValueError, match="a job that fails"):
        one.run(fail)
    assert one.run(lambda: 1) == 1


def test_a_job_may_ask_its_own_worker() -> None:
    one = Worker("one", lambda: None)
    assert one.run(lambda: one.run(lambda: 5)) == 5


def test_a_worker_whose_preparation_fails_ends() -> None:
    threads = []

    def fail() -> None:
        threads.append(threading.current_thread())
        raise RuntimeError("no pool")

    with pytest.raises(RuntimeError, match="no pool"):
        Worker("failing", fail)
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_there_is_one_worker_for_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_workers", {})
    prepared = []
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda _: worker(3, lambda: prepared.append(3)), range(50))
        )
    assert len(set(map(id, found))) == 1
    assert prepared == [3]
    assert worker(4, lambda: None) is not found[0]


def test_a_forked_process_starts_workers_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_workers", {})
    assert worker(2, lambda: None).run(lambda: 1) == 1
    program = """
import os, sys, warnings
from trimtab.runtime.workers import worker
first = worker(2, lambda: None)
assert first.run(lambda: 1) == 1
warnings.simplefilter("ignore")  # a fork beside threads
child = os.fork()
if not child:
    own = worker(2, lambda: None)
    os._exit(0 if own is not first and own.run(lambda: 2) == 2 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_ends_though_a_worker_waits() -> None:
    program = (
        "from trimtab.runtime.workers import worker\n"
        "print(worker(2, lambda: None).run(lambda: 7))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
