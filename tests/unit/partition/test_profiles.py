"""Profiles: from a model, carried over, written and read."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.errors import DataError, UsageError
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine
from trimtab.partition.profiles import estimated, named, read, scaled, write


@pytest.fixture(scope="module")
def graph():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    return capture(net.eval(), (torch.zeros(1, 3, 4, 4),))


def test_what_is_carried_over_and_back_is_as_before(graph):
    here, there = machine("milan"), machine("raspberry-pi-4")
    model = Roofline()
    first = estimated(graph, here, model)
    away = scaled(first, graph, model, here, there)
    assert away.source == "scaled"
    assert sum(away.p50_s) == pytest.approx(sum(estimated(graph, there, model).p50_s))
    back = scaled(away, graph, model, there, here)
    assert back.p50_s == pytest.approx(first.p50_s)
    slower = there.core.frequency_hz < here.core.frequency_hz
    assert (sum(away.p50_s) > sum(first.p50_s)) is slower


def test_a_profile_comes_back_from_its_file(graph, tmp_path):
    found = estimated(graph, machine("milan"), Roofline())
    write(found, tmp_path / "a.json")
    assert read(tmp_path / "a.json") == found
    assert found.spread == 1.0
    with pytest.raises(UsageError, match="folder does not exist"):
        write(found, tmp_path / "none" / "a.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format is 2"),
        ({"p50_s": [1.0]}, "one time for each node"),
        ({"p50_s": [-1.0, 0, 0, 0], "p90_s": [0, 0, 0, 0]}, "negative"),
        ({"nodes": 3}, "nodes"),
        ({"more": 1}, "more"),
    ],
)
def test_files_that_are_no_profile_are_refused(graph, tmp_path, change, said):
    write(estimated(graph, machine("milan"), Roofline()), tmp_path / "a.json")
    record = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.json")
    with pytest.raises(DataError, match="trimtab profile"):
        read(tmp_path / "absent.json")


def test_another_graph_is_refused(graph):
    other = capture(nn.Linear(4, 2).eval(), (torch.zeros(1, 4),))
    found = estimated(other, machine("milan"), Roofline())
    with pytest.raises(DataError, match="Profile this network"):
        scaled(found, graph, Roofline(), machine("milan"), machine("turin"))


def test_a_profile_of_this_machine_is_carried_to_one_that_is_named(graph, tmp_path):
    model, here = Roofline(), machine("this")
    mine = replace(estimated(graph, here, model), source="measured")
    mine = replace(mine, p50_s=tuple(3 * each for each in mine.p50_s))
    write(mine, tmp_path / "here.json")
    asked = {"carried": "here.json", "folder": tmp_path}
    away = named("raspberry-pi-4", graph, model, **asked)
    plain = named("raspberry-pi-4", graph, model)
    assert (away.source, plain.source) == ("scaled", "estimated")
    # What the model misses here by a factor, it misses there, too.
    assert sum(away.p50_s) == pytest.approx(3 * sum(plain.p50_s))
    assert named("this", graph, model, **asked) == mine
    assert named("here.json", graph, model, folder=tmp_path) == mine
    write(replace(mine, machine="a board"), tmp_path / "here.json")
    with pytest.raises(DataError, match="Measure it here"):
        named("raspberry-pi-4", graph, model, **asked)
