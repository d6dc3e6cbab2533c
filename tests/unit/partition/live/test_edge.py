"""The edge: every request one right answer, whatever the link does."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest
import torch
from tests.unit.partition.live.nets import Net, controller, made, served

from trimtab.errors import BundleError, LinkError, OverloadedError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.partition.live.cloud import Quotas
from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.emulate import Shape
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.link import Link
from trimtab.partition.live.proxy import Proxy

QUICK = Patience(connect_s=0.5, hedge_s=0.1, reply_s=0.5, rest_s=0.2, most_rest_s=0.5)


def images(count, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, 16, 16, generator=drawn) for _ in range(count)]


def right(net, xs, found):
    return all(torch.equal(net(x), each) for x, each in zip(xs, found, strict=True))


@pytest.fixture
def both():
    return made()


def test_the_cloud_answers_and_the_bits_are_those_of_the_network(both):
    net, halves = both
    xs = images(20)
    with (
        served(halves) as cloud,
        Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        ) as edge,
    ):
        found = [edge(x) for x in xs]
        state = edge.state()
    assert right(net, xs, found)
    assert state["answers"] == 20
    assert state["remote"] >= 18
    assert state["failed"] == 0


def test_a_cut_may_change_with_every_request(both):
    net, halves = both
    control = controller(halves, codecs=("raw",))
    away = [at for at in range(len(control.space.cuts)) if not control.space.local[at]]
    decide = control.decide

    def another(at_s):
        decision = decide(at_s)
        index = away[decision.number % len(away)]
        choice = control.space.choice(index, decision.conditions)
        return replace(decision, index=index, name=choice.name)

    control.decide = another
    xs = images(30)
    with (
        served(halves) as cloud,
        Edge(halves, control, cloud=Address(host="127.0.0.1", port=cloud.port)) as edge,
    ):
        futures = [edge.submit(x) for x in xs]
        found = [each.result(20) for each in futures]
    assert right(net, xs, found)


def test_without_a_cloud_the_edge_answers_and_takes_it_up_again(both):
    net, halves = both
    xs = images(10)
    with served(halves) as cloud:
        port = cloud.port
    edge = Edge(
        halves, controller(halves), cloud=Address(host="127.0.0.1", port=port),
        patience=QUICK,
    )  # fmt: skip
    with edge:
        assert right(net, xs, [edge(x) for x in xs])
        assert not edge.state()["connected"]


def test_a_cloud_that_dies_in_mid_stream_costs_no_answer(both):
    net, halves = both
    xs = images(60)
    with served(halves) as cloud, Proxy(cloud.port) as proxy:
        edge = Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=proxy.port),
        )  # fmt: skip
        with edge:
            found = []
            for number, x in enumerate(xs):
                if number in (10, 30):
                    proxy.cut()
                found.append(edge(x))
            until = time.monotonic() + 5
            while not edge.controller.connected and time.monotonic() < until:
                time.sleep(0.05)
            again = edge(xs[0])
            state = edge.state()
    assert right(net, [*xs, xs[0]], [*found, again])
    assert state["connected"]  # by itself
    assert state["answers"] == 61
    assert state["failed"] == 0


def test_a_black_hole_costs_a_hedge_and_then_nothing(both):
    net, halves = both
    with served(halves) as cloud, Proxy(cloud.port) as proxy:
        edge = Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=proxy.port),
        )  # fmt: skip
        with edge:
            xs = images(15)
            assert right(net, xs[:3], [edge(x) for x in xs[:3]])
            assert edge.connected(wait_s=5)
            proxy.shape = Shape(black_hole=True)
            found = [edge(x) for x in xs]
            lost = edge.state()
            proxy.shape = Shape()
            until = time.monotonic() + 8
            while not edge.controller.connected and time.monotonic() < until:
                time.sleep(0.05)
            back = edge.state()["connected"]
    assert right(net, xs, found)
    assert lost["hedge_won"] + lost["fallback"] >= 1
    assert lost["local"] >= 5  # left alone after some failures
    assert back


def test_a_hedge_that_fails_leaves_the_answer_to_the_cloud(both, monkeypatch):
    net, halves = both
    ask = Link.ask

    async def late(self, *arguments, **more):
        await asyncio.sleep(0.3)
        return await ask(self, *arguments, **more)

    async def broken(*_):
        raise BundleError("layers", rule="they cannot be read", remedy="none")

    monkeypatch.setattr(Link, "ask", late)
    with served(halves) as cloud:
        edge = Edge(
            halves, controller(halves), patience=Patience(hedge_s=0.01),
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            monkeypatch.setattr(edge, "_rest", broken)
            x = images(1)[0]
            assert torch.equal(edge(x), net(x))
            assert edge.state()["hedged"] == edge.state()["remote"] == 1


def test_who_leaves_takes_the_request_along(both, monkeypatch):
    _, halves = both
    begun, ended = threading.Event(), threading.Event()

    async def never(self, *arguments, **more):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with served(halves) as cloud:
        edge = Edge(
            halves, controller(halves), patience=Patience(hedge_s=60.0),
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            monkeypatch.setattr(Link, "ask", never)
            future = edge.submit(images(1)[0])
            assert begun.wait(5)
            future.cancel()
            assert ended.wait(5)


def test_a_connection_that_ends_is_made_again_for_who_cannot_do_without(
    both, monkeypatch
):
    net, halves = both
    xs = images(4)
    ask, calls = Link.ask, []

    async def ends_in_the_middle(self, *arguments, **more):
        calls.append(self)
        if len(calls) in (2, 4):
            await self.close()
            raise LinkError("a request", rule="it ended", remedy="connect again")
        return await ask(self, *arguments, **more)

    monkeypatch.setattr(Link, "ask", ends_in_the_middle)
    with served(halves) as cloud:
        edge = Edge(
            halves, controller(halves), whole=False,
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            found = [edge(x) for x in xs]
            state = edge.state()
    assert right(net, xs, found)
    assert state["retried"] == 2
    assert state["failed"] == 0


def test_what_is_asked_before_the_end_is_answered(both):
    net, halves = both
    xs = images(25)
    with served(halves) as cloud:
        edge = Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        )
        with edge:
            futures = [edge.submit(x) for x in xs]
        assert right(net, xs, [each.result(0) for each in futures])
        with pytest.raises(UsageError, match="closed"):
            edge(xs[0])


def test_what_comes_while_it_ends_is_refused_or_answered(both, monkeypatch):
    net, halves = both
    x = images(1)[0]
    with Edge(halves, controller(halves)) as edge:
        bind = Executor.bind

        def ends_meanwhile(self, *arguments):
            edge.close()
            return bind(self, *arguments)

        assert torch.equal(edge(x), net(x))
        monkeypatch.setattr(Executor, "bind", ends_meanwhile)
        with pytest.raises(UsageError, match="closed"):
            edge.submit(x)


def test_an_edge_that_never_began_ends_and_answers_nothing(both):
    _, halves = both
    edge = Edge(halves, controller(halves))
    with pytest.raises(UsageError, match="not begun"):
        edge.submit(images(1)[0])
    edge.close()


def test_a_late_answer_tells_of_the_link(both):
    _, halves = both
    with served(halves) as cloud, Proxy(cloud.port) as proxy:
        control = controller(halves)
        edge = Edge(
            halves, control, patience=QUICK,
            cloud=Address(host="127.0.0.1", port=proxy.port),
        )  # fmt: skip
        with edge:
            edge(images(1)[0])
            before = control.goodput.value
            proxy.shape = Shape(uplink_bytes_per_s=1_000)
            until = time.monotonic() + 20
            while control.goodput.value > before / 10:
                edge(images(1)[0])
                assert time.monotonic() < until
            assert edge.state()["hedge_won"] >= 1


def test_probes_that_the_cloud_has_no_room_for_do_not_end_the_connection(both):
    _, halves = both
    with served(halves, quotas=Quotas(bytes_per_s=1.0)) as cloud:
        edge = Edge(
            halves, controller(halves, edge=1e-6, cloud=1.0, probe_s=0.1),
            patience=QUICK, cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            until = time.monotonic() + 10
            while edge.counts["overloaded"] < 3:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert edge.state()["connections"] == 1
            assert edge.state()["connected"]


def test_errors_that_nobody_expects_cost_no_answer_and_no_cloud(both, monkeypatch):
    net, halves = both
    xs = images(3)
    opened, ask = Link.open, Link.ask
    broken: list[str] = []

    async def open_once(*arguments, **more):
        if not broken:
            broken.append("open")
            raise ZeroDivisionError
        return await opened(*arguments, **more)

    async def ask_once(self, *arguments, **more):
        if len(broken) == 1:
            broken.append("ask")
            raise ZeroDivisionError
        return await ask(self, *arguments, **more)

    monkeypatch.setattr(Link, "open", open_once)
    monkeypatch.setattr(Link, "ask", ask_once)
    with served(halves) as cloud:
        edge = Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            assert edge.connected(wait_s=10)
            assert right(net, xs, [edge(x) for x in xs])
            state = edge.state()
    assert broken == ["open", "ask"]
    assert state["fallback"] == 1
    assert state["remote"] >= 1


def test_an_overloaded_cloud_is_told_and_the_edge_goes_on(both):
    net, halves = both
    xs = images(6)
    with served(halves, quotas=Quotas(held_bytes=100)) as cloud, Edge(
        halves, controller(halves), patience=QUICK,
        cloud=Address(host="127.0.0.1", port=cloud.port),
    ) as edge:  # fmt: skip
        assert right(net, xs, [edge(x) for x in xs])
        state = edge.state()
    assert state["overloaded"] >= 1
    assert state["fallback"] >= 1


def test_another_network_is_refused_and_the_edge_goes_on(both):
    net, halves = both
    other = Net().eval()
    graph = capture(other, (torch.zeros(2, 3, 16, 16),), name="other")
    wrong = Halves(graph, weights_of(other, graph), [0, 1, 2], ("raw", "int8"))
    with served(wrong) as cloud:
        edge = Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            x = images(1)[0]
            assert torch.equal(edge(x), net(x))
            assert "same bundle" in edge.state()["refused"]
            # The right one in its place is taken up.
            with served(halves) as other:
                edge.connection.cloud = Address(host="127.0.0.1", port=other.port)
                until = time.monotonic() + 10
                while not edge.state()["connected"]:
                    assert time.monotonic() < until
                    time.sleep(0.05)
                assert not edge.state()["refused"]


def test_an_edge_that_may_not_run_all_of_it_says_so(both):
    _, halves = both
    control = controller(halves)
    control.connected = True
    edge = Edge(halves, control, cloud=None, whole=False)
    with edge:
        control.connected = True
        with pytest.raises(LinkError, match="cloud is needed"):
            edge(images(1)[0])


def test_what_the_network_does_not_take_is_refused_at_once(both):
    from trimtab.errors import ExecutionError

    _, halves = both
    with Edge(halves, controller(halves)) as edge, pytest.raises(ExecutionError):
        edge(torch.zeros(1, 3, 8, 8))


def test_many_callers_at_once_have_their_own_answers(both):
    net, halves = both
    with (
        served(halves, workers=2) as cloud,
        Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        ) as edge,
    ):
        results = {}

        def call(caller):
            xs = images(15, seed=caller)
            results[caller] = right(net, xs, [edge(x) for x in xs])

        threads = [threading.Thread(target=call, args=(each,)) for each in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        assert results == dict.fromkeys(range(6), True)
        assert edge.state()["answers"] == 90


def test_state_is_read_between_two_steps_of_requests_from_any_thread(both):
    _, halves = both
    control = controller(halves, edge=1e-6)
    readers, conditions = [], control.conditions

    def watched(at_s):
        readers.append(threading.current_thread().name)
        return conditions(at_s)

    with Edge(halves, control) as edge:
        for x in images(3):
            edge(x)
        control.conditions = watched
        assert edge.state()["answers"] == 3
        assert [each.number for each in edge.decided(1)[1]] == [1, 2]
        assert readers == ["edge"] * 2  # the thread that the log grows in
        control.conditions = conditions
    assert edge.state()["answers"] == 3  # when it has ended, too


def test_a_cloud_without_room_is_told_with_its_time_where_it_is_needed(both):
    _, halves = both
    with served(halves, quotas=Quotas(held_bytes=100)) as cloud:
        address = Address(host="127.0.0.1", port=cloud.port)
        with (
            Edge(halves, controller(halves), cloud=address, whole=False) as edge,
            pytest.raises(OverloadedError, match="cloud is needed") as caught,
        ):
            edge(images(1)[0])
    assert caught.value.retry_after_s > 0
