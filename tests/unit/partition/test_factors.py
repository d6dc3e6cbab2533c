"""Grids of conditions, and machines under pressure on their memory."""

import math

import pytest
from tests.unit.partition.test_plan import graph  # noqa: F401 - a fixture

from trimtab.cost.latency import Roofline
from trimtab.errors import UsageError
from trimtab.hardware.load import machine, machine_names
from trimtab.partition.factors import FACTORS, Grid, grid_of, pressed, under_pressure
from trimtab.partition.profiles import estimated


def test_a_grid_has_every_combination():
    grid = grid_of(7)
    assert len(grid.levels) == len(FACTORS)
    assert grid.count == 7 * 3**5 == math.prod(grid.shape)
    rates = [8 * each / 1e6 for each in grid.uplink_bytes_per_s]
    assert rates[0] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1000.0)
    assert rates[3] == pytest.approx(1000.0**0.5)
    assert grid.baseline == (3, 1, 0, 0, 0, 0)


def test_three_levels_at_least():
    assert grid_of(0).shape[0] == 3
    with pytest.raises(UsageError, match="at least 3"):
        Grid(uplink_bytes_per_s=(1.0, 2.0))


@pytest.mark.parametrize(
    "levels", [(1.0, 3.0, 2.0), (0.5, 1.0, 2.0), (1.0, 2.0, math.inf)]
)
def test_levels_ascend_from_none(levels):
    with pytest.raises(UsageError, match="edge_load"):
        Grid(uplink_bytes_per_s=(1.0, 2.0, 3.0), edge_load=levels)


@pytest.mark.parametrize("name", machine_names())
def test_pressure_makes_nothing_faster_nor_slower_than_itself(name, graph):  # noqa: F811
    alone = machine(name)
    model = Roofline()
    before = model.estimate(graph, alone).latency_s
    times = [
        model.estimate(graph, pressed(alone, x)).latency_s for x in (1.0, 2.0, 4.0)
    ]
    assert times[0] == before
    assert times == sorted(times)
    assert times[2] <= 4 * before


def test_pressure_takes_bandwidth_and_shared_caches_only():
    alone = machine("milan")
    under = pressed(alone, 4.0)
    assert under.memory.bandwidth_bytes_per_s == alone.memory.bandwidth_bytes_per_s / 4
    for before, after in zip(alone.caches, under.caches, strict=True):
        shared = before.shared_by_cores > 1
        assert after.size_bytes == before.size_bytes // (4 if shared else 1)
    assert under.core == alone.core
    with pytest.raises(UsageError, match="at least 1"):
        pressed(alone, 0.5)


def test_a_profile_of_the_model_is_the_model_under_pressure(graph):  # noqa: F811
    pi = machine("raspberry-pi-4")
    model = Roofline()
    found = under_pressure(graph, estimated(graph, pi, model), pi, model, (1.0, 4.0))
    expected = estimated(graph, pressed(pi, 4.0), model)
    assert found[0].p50_s == estimated(graph, pi, model).p50_s
    assert found[1].p50_s == pytest.approx(expected.p50_s)
