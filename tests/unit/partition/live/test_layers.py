"""Layers follow the cut: every answer right, no more in memory than the mode says."""

import time

import pytest
import torch
from tests.unit.partition.live.nets import Served, controller, made, served

from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge

PATIENT = Patience(hedge_s=5.0, reply_s=10.0)


def at(there):
    return Address(host="127.0.0.1", port=there.port)


def images(count, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, 16, 16, generator=drawn) for _ in range(count)]


def settled(condition, *, within_s=10.0):
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def asked(edge, net, count, seed=0):
    return all(torch.equal(edge(x), net(x)) for x in images(count, seed))


@pytest.mark.parametrize("mode", ["lazy", "standby", "pause"])
def test_the_layers_follow_the_cut(mode):
    net, halves = made(first=range(0))
    _, cloud_halves = made()
    # The edge is fast enough for any cut, and never the best alone.
    # Over so many requests any pause pays, however slow the machine.
    control = controller(halves, edge=1e-4, cloud=1e-6, requests=10**6)
    control.space.edge_s[control.space.local] = 60.0
    control._see_rate = lambda *args: None  # the rate is what is set here
    control.goodput.value = 1e9
    with served(cloud_halves) as there:
        edge = Edge(
            halves, control, cloud=at(there),
            patience=PATIENT, mode=mode,
        )  # fmt: skip
        with edge:
            assert asked(edge, net, 3)
            first = control.log[-1].name
            assert first == "cloud only"
            if mode != "standby":
                assert edge.state()["kept_bytes"] == 0
            control.goodput.value = 5e4

            def moved():
                return asked(edge, net, 1) and control.log[-1].name != first

            assert settled(moved)
            stop = control.space.positions[control.log[-1].index]
            state = edge.state()
            assert 0 < stop <= halves.keeping.part.stop < halves.end or mode != "lazy"
            assert state["loads"] >= 1
            assert (state["paused_s"] > 0) is (mode == "pause")
            assert (control.settings.switch_s > 0) is (mode == "pause")
            # While layers were loaded the old cut answered, but in mode pause.
            assert state["remote"] == state["requests"]
            control.goodput.value = 1e9
            assert settled(
                lambda: asked(edge, net, 1) and control.log[-1].name == first
            )
            if mode == "lazy":
                assert settled(lambda: edge.state()["kept_bytes"] == 0)


def test_without_the_cloud_the_rest_is_loaded():
    net, halves = made(first=range(0))
    _, cloud_halves = made()
    there = Served(cloud_halves)
    edge = Edge(
        halves, controller(halves), cloud=at(there), patience=PATIENT, mode="lazy"
    )
    with edge:
        assert asked(edge, net, 2)
        assert halves.keeping.part == range(0)
        there.stop()
        assert asked(edge, net, 3, seed=1)
        assert edge.counts["answers"] == 5
        assert halves.keeping.part == range(halves.end)


def test_a_lazy_cloud_has_what_edges_asked_for():
    net, halves = made()
    _, cloud_halves = made(first=range(0))
    with served(cloud_halves, lazy=True) as there:
        edge = Edge(
            halves, controller(halves), cloud=at(there),
            patience=PATIENT,
        )  # fmt: skip
        with edge:
            # Until the cloud is ready, the edge answers.
            assert settled(lambda: asked(edge, net, 1) and edge.state()["remote"] > 0)
            assert cloud_halves.keeping.part == range(halves.end)
            assert edge.state()["failed"] == 0
    assert there.cloud.state()["errors"] == 0


def test_a_cut_that_the_cloud_has_no_memory_for_is_not_taken():
    net, halves = made()
    _, cloud_halves = made(first=range(0))
    everything = cloud_halves.keeping.size_of(range(halves.end))
    with served(cloud_halves, lazy=True, most_bytes=everything - 1) as there:
        control = controller(halves)
        edge = Edge(
            halves, control, cloud=at(there),
            patience=PATIENT,
        )  # fmt: skip
        with edge:
            # Later cuts, whose layers are fewer, are tried in its place.
            assert settled(lambda: asked(edge, net, 1) and edge.state()["remote"] > 0)
            link = edge.connection.link
            assert link is not None
            assert 0 in link.refused
            assert asked(edge, net, 3)
            assert edge.state()["failed"] == 0
            assert cloud_halves.keeping.bytes < everything
