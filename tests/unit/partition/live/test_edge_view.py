"""What is shown of an edge."""

import asyncio
import time

import pytest
from tests.unit.partition.live.nets import controller, made, served
from tests.unit.partition.live.test_edge import QUICK, images

from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.edge_view import EdgeView


def titled(state):
    return {block.title: block for block in state.blocks}


def values(state):
    return {tile.name: tile.value for tile in state.tiles}


@pytest.fixture(scope="module")
def halves():
    return made()[1]


def seen_with_a_cloud(halves, count=12):
    with (
        served(halves) as cloud,
        Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        ) as edge,
    ):
        view = EdgeView(edge)
        first = view.state()
        for x in images(count):
            edge(x)
            view.answered(0.25, 200)
        view.answered(0.1, 422)
        return first, view.state(), view.state(), edge.state()


def test_before_any_request_there_is_nothing_in_force(halves):
    first, _, _, _ = seen_with_a_cloud(halves, 1)
    assert first.headline == "No request yet"
    assert values(first)["p99 latency"] is None
    assert titled(first)["Cut in force"].spans == ()
    assert first.record()["blocks"]


def test_with_a_cloud_the_cut_is_told_with_its_reasons(halves):
    _, state, again, told = seen_with_a_cloud(halves)
    assert state.tone == "good"
    assert state.headline == f"{told['cut']}, {told['codec']}"
    assert any("predicted" in reason for reason in state.reasons)
    assert any("Runner-up" in reason for reason in state.reasons)
    found = values(state)
    assert found["p50 latency"] == found["p99 latency"] == 0.25
    assert found["HTTP 4xx"] == 1
    assert found["remote"] == told["remote"]
    assert found["requests"] == 12
    blocks = titled(state)
    span = blocks["Cut in force"].spans[-1]
    assert (span.name, span.end_s) == (state.headline, 0.0)
    rows = titled(again)["How decisions turned out, equal ones in one row"].rows
    assert sum(row[2] for row in rows) == 12
    assert len(titled(again)["Latency"].times_s) == 3


def test_the_bars_compare_what_is_in_force_with_the_edge_and_the_cloud_alone(halves):
    _, state, _, _ = seen_with_a_cloud(halves)
    bars = titled(state)["Predicted under what is assumed now"]
    assert bars.labels[0] == state.headline
    assert {"edge only", "cloud only, raw"} <= set(bars.labels)
    assert len(set(bars.labels)) == len(bars.labels)
    sums = dict(
        zip(
            bars.labels,
            map(sum, zip(*(part for _, part in bars.parts), strict=True)),
            strict=True,
        )
    )
    assert titled(state)["Latency"].target.value == pytest.approx(sums["edge only"])


@pytest.mark.parametrize(
    ("cloud", "whole", "said", "tone"),
    [
        (None, True, "without a cloud", "plain"),
        (Address(host="127.0.0.1", port=1), True, "answers alone", "warn"),
        (Address(host="127.0.0.1", port=1), False, "nobody can answer", "bad"),
    ],
)
def test_without_a_cloud_it_says_so(halves, cloud, whole, said, tone):
    edge = Edge(halves, controller(halves), cloud=cloud, patience=QUICK, whole=whole)
    with edge:
        view = EdgeView(edge)
        edge(images(1)[0])
        state = view.state()
    assert said in state.status
    assert state.tone == tone
    assert state.headline == "edge only"
    assert any("no other choice" in reason for reason in state.reasons)


def test_a_cloud_of_another_network_is_told_with_the_reason(halves):
    with served(made(codecs=("raw",))[1]) as cloud:
        edge = Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=cloud.port),
        )  # fmt: skip
        with edge:
            until = time.monotonic() + 5
            while edge.connection.refused is None and time.monotonic() < until:
                time.sleep(0.01)
            state = EdgeView(edge).state()
    assert state.tone == "bad"
    assert any("same bundle" in reason for reason in state.reasons)


def test_edge_and_cloud_have_their_colours_in_all_figures(halves):
    _, state, _, _ = seen_with_a_cloud(halves)
    bars = titled(state)["Predicted under what is assumed now"]
    order = [name for name, _ in bars.parts]
    wanted = {"edge only": order.index("edge"), "cloud only, raw": order.index("cloud"),
              "cloud only, int8": order.index("cloud")}  # fmt: skip
    for span in titled(state)["Cut in force"].spans:
        assert span.colour == wanted.get(span.name, order.index("link"))


def test_changes_of_the_cut_are_told_with_when_and_why(halves):
    with (
        served(halves) as cloud,
        Edge(
            halves, controller(halves), patience=QUICK,
            cloud=Address(host="127.0.0.1", port=cloud.port),
        ) as edge,
    ):  # fmt: skip
        view = EdgeView(edge)
        edge(images(1)[0])
        before = titled(view.state())["What changed, and why"].entries
        first = view.state().headline
        stopping = cloud.cloud.stop()
        asyncio.run_coroutine_threadsafe(stopping, cloud.loop).result(5)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            edge(images(1)[0])
            after = titled(view.state())["What changed, and why"].entries
            if any("edge only" in each.what for each in after):
                break
            time.sleep(0.05)
    told = {each.what: each for each in before}
    assert "goodput" in told[first].why
    assert any(each.startswith("connected to") for each in told)
    newest = {each.what: each for each in after}
    change = newest[f"{first} → edge only"]
    assert change.why.startswith("Predicted")
    away = next(each for each in after if "the edge answers alone" in each.what)
    assert away.tone == "warn"
