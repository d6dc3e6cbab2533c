"""The link of an edge: made again, and left alone after failures."""

import time

import pytest
from tests.unit.partition.live.nets import controller, made

from trimtab.partition.live.connection import Patience
from trimtab.partition.live.edge import Edge


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
