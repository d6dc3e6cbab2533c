"""States to many viewers."""

import asyncio
import itertools
import json
import logging

import pytest

pytest.importorskip("starlette")

from trimtab.runtime.dashboard import events
from trimtab.runtime.dashboard.events import Broadcast, EventStream
from trimtab.runtime.dashboard.state import State

PERIOD_S = 0.01


class Source:
    def __init__(self):
        self.asked = 0

    def __call__(self):
        self.asked += 1
        return State(status=str(self.asked))


class Viewer:
    """Takes what is sent, as fast as it is told."""

    def __init__(self, broadcast, slow_s=0.0):
        self.parts, self.slow_s = [], slow_s
        self.left = asyncio.Event()
        self.task = asyncio.create_task(
            EventStream(broadcast)({"type": "http"}, self.receive, self.send)
        )

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.parts.append(message)
        await asyncio.sleep(self.slow_s)

    @property
    def states(self):
        text = b"".join(each.get("body", b"") for each in self.parts).decode()
        lines = [line for line in text.split("\n") if line.startswith("data: ")]
        return [int(json.loads(line[6:])["status"]) for line in lines]


async def running(source, work):
    broadcast = Broadcast(source, PERIOD_S)
    task = asyncio.create_task(broadcast.run())
    try:
        return await work(broadcast)
    finally:
        task.cancel()


def test_many_viewers_cost_one_state_a_period():
    source = Source()

    async def work(broadcast):
        viewers = [Viewer(broadcast) for _ in range(20)]
        while len(viewers[0].states) < 5:
            await asyncio.sleep(PERIOD_S)
        assert broadcast.viewers == 20
        broadcast.close()
        await asyncio.gather(*(each.task for each in viewers))
        return viewers, broadcast

    viewers, broadcast = asyncio.run(running(source, work))
    assert broadcast.viewers == 0
    assert source.asked < 20
    for viewer in viewers:
        assert len(viewer.states) >= 5
        assert viewer.states == sorted(viewer.states)
        assert viewer.parts[0]["status"] == 200
        assert dict(viewer.parts[0]["headers"])[b"content-type"].startswith(
            b"text/event-stream"
        )
        assert viewer.parts[-1] == {
            "type": "http.response.body", "body": b"", "more_body": False,
        }  # fmt: skip


def test_where_nobody_looks_no_event_is_made():
    source = Source()

    async def work(broadcast):
        while source.asked < 4:
            await asyncio.sleep(PERIOD_S)
        return broadcast._event, broadcast.event, broadcast.event

    before, first, again = asyncio.run(running(source, work))
    assert before is None
    assert first is again


def test_a_slow_viewer_leaves_states_out_and_has_the_newest():
    async def work(broadcast):
        slow = Viewer(broadcast, slow_s=10 * PERIOD_S)
        while len(slow.states) < 4:
            await asyncio.sleep(PERIOD_S)
        newest = int(broadcast.state.status)
        broadcast.close()
        await slow.task
        return slow.states, newest

    states, newest = asyncio.run(running(Source(), work))
    assert max(late - early for early, late in itertools.pairwise(states)) > 3
    assert newest - states[3] <= 3


def test_a_viewer_that_takes_nothing_is_left_alone(monkeypatch):
    monkeypatch.setattr(events, "_WRITE_S", 0.05)

    async def work(broadcast):
        stuck = Viewer(broadcast, slow_s=3600.0)
        stuck.slow_s = 0.0  # of the start
        await asyncio.sleep(0)
        stuck.slow_s = 3600.0
        await asyncio.wait_for(stuck.task, 5)
        return broadcast.viewers

    assert asyncio.run(running(Source(), work)) == 0


def test_a_viewer_that_goes_is_forgotten():
    async def work(broadcast):
        viewer = Viewer(broadcast)
        while not viewer.states:
            await asyncio.sleep(PERIOD_S)
        viewer.left.set()
        await asyncio.wait_for(viewer.task, 5)
        return broadcast.viewers

    assert asyncio.run(running(Source(), work)) == 0


def test_a_source_that_fails_is_logged_and_asked_again(caplog):
    source = Source()

    def failing():
        state = source()
        if source.asked == 3:
            raise RuntimeError("no state")
        return state

    async def work(broadcast):
        while source.asked < 6:
            await asyncio.sleep(PERIOD_S)
        return int(broadcast.state.status)

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(running(failing, work)) >= 5
    assert "has no state" in caplog.text
