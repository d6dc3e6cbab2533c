"""Requests at a pace; the cloud until a signal is in the tests of the command."""

import itertools
import json
import time

import pytest
import torch
from tests.unit.partition.live.nets import controller, made

from trimtab.errors import UsageError
from trimtab.partition.live import run
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.run import ask


def test_requests_keep_their_distance():
    _, halves = made()
    told: list[int] = []
    with Edge(halves, controller(halves)) as edge:
        begun = time.monotonic()
        some = itertools.repeat(torch.zeros(1, 3, 16, 16), 6)
        found = ask(edge, some, every_s=0.05, told=told.append)
        assert time.monotonic() - begun >= 0.25
    assert len(found) == 6
    assert told == [1, 2, 3, 4, 5, 6]
    assert all(each > 0 for each in found)


def test_decisions_are_written_while_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_WRITE_S", 0.02)
    _, halves = made()
    path = tmp_path / "log.jsonl"
    with Edge(halves, controller(halves)) as edge:
        with run.logged(edge, path):
            edge(torch.zeros(1, 3, 16, 16))
            until = time.monotonic() + 10
            while not path.read_text() and time.monotonic() < until:
                time.sleep(0.01)
            (first,) = map(json.loads, path.read_text().splitlines())
            edge(torch.zeros(1, 3, 16, 16))
        found = [json.loads(line) for line in path.read_text().splitlines()]
        with pytest.raises(UsageError, match="log"), run.logged(edge, tmp_path):
            pass
    assert [each["number"] for each in found] == [0, 1]
    assert found[0] == first
    assert first["actual_s"] > 0
