"""The link of an edge: made again, and left alone after failures."""

import asyncio
import threading
import time

import pytest
import torch
from tests.unit.partition.live.nets import controller, made, served

from trimtab.errors import DataError
from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.link import Link

QUICK = Patience(connect_s=0.5, hedge_s=0.1, reply_s=0.5, rest_s=0.1, most_rest_s=0.2)


def at(there):
    return Address(host="127.0.0.1", port=there.port)


@pytest.fixture
def both():
    return made()


def test_one_stall_is_one_failure_however_many_requests_it_holds_up(both):
    _, halves = both
    edge = Edge(
        halves, controller(halves), patience=Patience(rest_s=30.0, most_rest_s=99.0)
    )
    link = edge.connection
    for _ in range(50):
        link.failed("no answer in time")
    assert link._rests == 1
    assert link._rest_until <= time.monotonic() + 30.0
    link._rest_until = 0.0
    link.failed("no answer in time")
    link._rest_until -= 31.0  # twice as long, the second time
    assert link._rest_until > time.monotonic() + 20.0
    edge.close()


def reached(condition, *, within_s=10.0):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_a_probe_that_ends_as_nobody_expects_is_not_the_last(both, monkeypatch):
    _, halves = both
    probe, broken = Link.probe, list[int]()

    async def once(self, size, **more):
        if size and not broken:
            broken.append(size)
            raise ZeroDivisionError
        return await probe(self, size, **more)

    monkeypatch.setattr(Link, "probe", once)
    with served(halves) as cloud:
        control = controller(halves, probe_s=0.1)
        with Edge(halves, control, cloud=at(cloud), patience=QUICK) as edge:
            assert reached(lambda: broken)
            assert reached(lambda: edge.counts["connections"] == 2)
            assert edge.connected(wait_s=5)


def test_answers_that_are_none_are_failures_of_the_link(both, monkeypatch):
    net, halves = both

    async def nonsense(self, *arguments, **more):
        raise DataError("a reply", rule="it has other bytes", remedy="none")

    monkeypatch.setattr(Link, "ask", nonsense)
    with served(halves) as cloud:
        resting = Patience(rest_s=60.0, most_rest_s=60.0)
        edge = Edge(halves, controller(halves), cloud=at(cloud), patience=resting)
        with edge:
            xs = [torch.randn(1, 3, 16, 16) for _ in range(5)]
            assert all(torch.equal(edge(x), net(x)) for x in xs)
            state = edge.state()
    assert state["fallback"] == resting.failures
    assert state["local"] == 5 - resting.failures


def test_an_edge_ends_while_it_connects(both, monkeypatch):
    _, halves = both
    begun, ended = threading.Event(), threading.Event()

    async def never(*arguments, **more):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(Link, "open", never)
    nowhere = Address(host="127.0.0.1", port=1)
    edge = Edge(halves, controller(halves), cloud=nowhere)
    edge.start()
    assert begun.wait(5)
    edge.close()
    assert ended.is_set()
