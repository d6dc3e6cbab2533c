"""The clock, against clocks that the tests turn themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.hardware import measure
from trimtab.hardware.measure import (
    least_times_s,
    median_time_s,
    profile,
    thread_times_s,
    torch_threads,
)


class _Clock:
    """Stands in for the module `time`; only `pass_time` moves it."""

    def __init__(self) -> None:
        self.cpu_s = 1000.0
        self.wall_s = 5000.0

    def thread_time(self) -> float:
        return self.cpu_s

    def perf_counter(self) -> float:
        return self.wall_s

    def pass_time(self, cpu_s: float, wall_s: float) -> None:
        self.cpu_s += cpu_s
        self.wall_s += wall_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(measure, "time", made)
    return made


def lasting(clock: _Clock, *pairs: tuple[float, float]) -> Callable[[], None]:
    """Return a call that takes these CPU and wall times, the last for ever."""
    left = list(pairs)

    def call() -> None:
        clock.pass_time(*(left.pop(0) if len(left) > 1 else left[0]))

    return call


def test_one_thread_is_timed_by_its_cpu_time(clock: _Clock) -> None:
    # The first call warms up; of 5, 1, 2, 4 and 3 the median is 3.
    cpu = (100.0, 5.0, 1.0, 2.0, 4.0, 3.0)
    call = lasting(clock, *((each, 50.0) for each in cpu))
    assert median_time_s(call, share_s=0) == 3.0


def test_several_threads_are_timed_by_the_wall(clock: _Clock) -> None:
    wall = (100.0, 5.0, 1.0, 2.0, 4.0, 3.0)
    call = lasting(clock, *((50.0, each) for each in wall))
    assert median_time_s(call, threads=2, share_s=0) == 3.0


@pytest.mark.parametrize(
    ("share_s", "calls"),
    [
        (0.0, 1 + 5),  # never fewer than five
        (3.0, 1 + 5),
        (20.0, 1 + 20),  # a second of the wall each
        (1e9, 1 + 500),  # never more than five hundred
    ],
)
def test_calls_are_made_while_there_is_time(
    clock: _Clock, share_s: float, calls: int
) -> None:
    made = 0

    def call() -> None:
        nonlocal made
        made += 1
        clock.pass_time(0.25, 1.0)

    assert median_time_s(call, share_s=share_s) == 0.25
    assert made == calls


@pytest.mark.parametrize("threads", [1, 3])
def test_torch_uses_that_many_threads_inside_only(threads: int) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    median_time_s(
        lambda: seen.append(torch.get_num_threads()), threads=threads, share_s=0
    )
    assert set(seen) == {threads}
    assert torch.get_num_threads() == before


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def fails() -> None:
        seen.append(torch.get_num_threads())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        fails()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


class _Executor:
    """Two nodes of 2 and 3 seconds; whole calls take what the test says."""

    def __init__(self, clock: _Clock, whole_s: Iterator[float]) -> None:
        self.graph = SimpleNamespace(
            nodes=(SimpleNamespace(name="a"), SimpleNamespace(name="b"))
        )
        self._clock = clock
        self._whole_s = whole_s
        self.order: list[str] = []

    def run(
        self, values: object, *, watch: Callable[[Any], None] | None = None
    ) -> None:
        assert values == {"x": 1}
        if watch is None:
            self.order.append("whole")
            self._clock.pass_time(next(self._whole_s), 70.0)
            return
        self.order.append("nodes")
        for node, seconds in zip(self.graph.nodes, (2.0, 3.0), strict=True):
            self._clock.pass_time(seconds, 70.0)
            watch(node)


def test_profile_alternates_whole_calls_and_nodes(clock: _Clock) -> None:
    # Two calls warm up and are not counted.
    executor: Any = _Executor(clock, iter([900.0, 800.0, 6.0, 4.0, 5.0]))
    inputs: Any = {"x": 1}
    told: list[float] = []
    found = profile(
        executor, inputs, calls=3, progress=lambda done, text: told.append(done)
    )
    assert executor.order == ["whole", "nodes"] * (2 + 3)
    assert found.latency_s == 5.0
    assert found.interval_s == (4.0, 6.0)  # quartiles of 4, 5, 6
    assert found.nodes_s == {"a": 2.0, "b": 3.0}
    assert (found.calls, found.threads, found.clock) == (3, 1, "thread CPU time")
    assert told == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 5 / 5]


def test_profile_of_several_threads_reads_the_wall(clock: _Clock) -> None:
    executor: Any = _Executor(clock, iter([1.0] * 4))
    inputs: Any = {"x": 1}
    found = profile(executor, inputs, calls=2, threads=2)
    assert found.latency_s == 70.0
    assert found.nodes_s == {"a": 70.0, "b": 70.0}
    assert (found.threads, found.clock) == (2, "wall time")


def test_profile_of_a_network() -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).eval()
    x = torch.zeros(4, 64)
    graph = capture(network, (x,))
    executor = Executor(graph, weights_of(network, graph))
    before = torch.get_num_threads()
    found = profile(executor, {Ref(graph.inputs[0].name): x}, calls=4)
    assert list(found.nodes_s) == [node.name for node in graph.nodes]
    assert all(value >= 0 for value in found.nodes_s.values())
    assert found.interval_s[0] <= found.latency_s <= found.interval_s[1]
    assert torch.get_num_threads() == before


def test_the_least_time_of_each_call_counts(clock: _Clock) -> None:
    """Calls take turns; the first of each warms up, wall time does not count."""
    order: list[str] = []
    times = {"a": iter([9.0, 5.0, 3.0, 4.0]), "b": iter([9.0, 2.0, 7.0, 8.0])}

    def call(name: str) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            clock.pass_time(next(times[name]), 100.0)

        return run

    found = least_times_s({"a": call("a"), "b": call("b")}, rounds=3)
    assert found == {"a": 3.0, "b": 2.0}
    assert order == ["a", "b"] * 4


def test_cpu_times_of_calls_are_returned_one_by_one(clock: _Clock) -> None:
    call = lasting(clock, (9.0, 9.0), (0.5, 3.0), (0.25, 1.0), (0.75, 1.0))
    # The first call warms up; of the others the CPU time of this thread counts.
    assert thread_times_s(call, calls=3) == [0.5, 0.25, 0.75]


def test_what_comes_before_a_call_is_not_timed(clock: _Clock) -> None:
    told: list[str] = []

    def before() -> None:
        told.append("before")
        clock.pass_time(7.0, 7.0)

    def call() -> None:
        told.append("call")
        clock.pass_time(0.5, 0.5)

    assert thread_times_s(call, calls=2, before=before) == [0.5, 0.5]
    assert told == ["before", "call"] * 3


def test_no_calls_are_none(clock: _Clock) -> None:
    def call() -> None:
        raise AssertionError("called")

    assert thread_times_s(call, calls=0, before=call) == []
