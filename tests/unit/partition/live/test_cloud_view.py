"""What is shown of a cloud."""

from tests.unit.partition.live.nets import controller, made, served
from tests.unit.partition.live.test_edge import images

from trimtab.partition.live.cloud_view import CloudView
from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge


def test_counts_connections_and_limits():
    _, halves = made()
    with served(halves) as cloud:
        view = CloudView(cloud.cloud)
        before = view.state()
        address = Address(host="127.0.0.1", port=cloud.port)
        with Edge(halves, controller(halves), cloud=address) as edge:
            for x in images(5):
                edge(x)
            during = view.state()
        cloud.cloud.counts["broken"] += 2
        after = view.state()
    assert before.status == "0 connections"
    assert before.tone == "plain"
    assert during.status == "1 connection"
    assert during.tone == "good"
    assert "net" in during.headline
    assert "Without TLS." in during.reasons
    found = {tile.metric: tile.value or 0.0 for tile in during.tiles}
    assert found["answers"] >= 4
    assert found["connections_open"] == 1
    assert found["service"] > 0
    assert [block.title for block in during.blocks if block.kind == "trend"] == [
        "Requests by their end", "Requests that wait", "Service time of a tail",
        "Connections",
    ]  # fmt: skip
    (log,) = (block for block in after.blocks if block.kind == "log")
    told = {each.what: each for each in log.entries}
    assert told["1 connection"].why == "An edge has come."
    assert (told["connection ended"].times, told["connection ended"].tone) == (2, "bad")


def test_a_full_queue_is_shown_with_its_limit():
    _, halves = made()
    with served(halves) as cloud:
        cloud.cloud._waiting = cloud.cloud.quotas.queue
        state = CloudView(cloud.cloud).state()
        cloud.cloud._waiting = 0
    assert state.tone == "warn"
    targets = [block.target for block in state.blocks if block.kind == "trend"]
    assert [each.value for each in targets if each] == [64]
