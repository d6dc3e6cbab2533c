"""Points of a study: the same as one condition at a time."""

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.partition.test_plan import graph, profile  # noqa: F401 - a fixture

from trimtab.errors import UsageError
from trimtab.partition.calibrate_points import Fit
from trimtab.partition.conditions import Conditions, Limits
from trimtab.partition.factors import grid_of
from trimtab.partition.space import Space
from trimtab.partition.study import AXES, Side, Simulation


def sides(graph, name, seconds):  # noqa: F811
    """A machine whose nodes take half as long again and double under pressure."""
    return Side(
        name=name,
        profiles=tuple(
            profile(graph, [x * each for x in seconds], spread=1.5)
            for each in (1.0, 1.5, 2.0)
        ),
    )


def made(graph, *, limits=None, fit=None, uplinks=3, codecs=("raw", "int8")):  # noqa: F811
    edges = [
        sides(graph, "slow", [0.02, 0.001, 0.004, 0.0001, 0.03]),
        sides(graph, "fast", [0.002, 0.001, 0.0004, 0.0001, 0.003]),
    ]
    clouds = [sides(graph, "cloud", [0.001, 0.0001, 0.0002, 0.0001, 0.001])]
    space = Space(
        graph, edges[0].profiles[0], clouds[0].profiles[0], codecs=codecs,
        limits=limits, positions=range(len(graph.nodes) + 1),
    )  # fmt: skip
    return Simulation(
        space, edges, clouds, grid_of(uplinks), compressed_bytes=150.0, fit=fit
    )


@pytest.mark.parametrize("objective", ["latency", "p95", "throughput", "energy"])
def test_points_are_those_of_the_space(graph, objective):  # noqa: F811
    some = made(graph)
    found = some.outcome(objective)
    grid = some.grid
    assert found.best_s.shape == (2, 1, 2, *grid.shape)
    rng = np.random.default_rng(0)
    for _ in range(40):
        at = tuple(int(rng.integers(count)) for count in found.best_s.shape)
        edge, cloud, codec, up, rtt, load_e, load_c, mem_e, mem_c = at
        space = Space(
            graph, some.edges[edge].profiles[mem_e], some.clouds[cloud].profiles[mem_c],
            codecs=some.codecs, positions=range(len(graph.nodes) + 1),
        )  # fmt: skip
        rate = grid.uplink_bytes_per_s[up]
        there = Conditions(
            uplink_bytes_per_s=rate, downlink_bytes_per_s=rate, rtt_s=grid.rtt_s[rtt],
            fading=2.0, edge_slowdown=grid.edge_load[load_e],
            cloud_slowdown=grid.cloud_load[load_c],
        )  # fmt: skip
        costs = space.costs(there, objective)
        mine = np.array([name == some.codecs[codec] for name in space.codecs])
        mine |= space.local
        assert found.best_s[at] == pytest.approx(costs[mine].min())
        assert found.edge_s is not None
        assert found.edge_s[at] == pytest.approx(costs[space.local].min())
        ends = space.local | ((space.positions == 0) & mine)
        assert found.ends_s is not None
        assert found.ends_s[at] == pytest.approx(costs[ends].min())


def test_nothing_is_better_than_the_best(graph):  # noqa: F811
    some = made(graph, uplinks=5)
    found = some.outcome("latency", alike_frac=0.0)
    for other in (found.stay_s, found.static_s, found.edge_s, found.ends_s):
        assert other is not None
        assert (other >= found.best_s - 1e-15).all()
    base = (..., *some.grid.baseline)
    assert found.stay_s[base] == pytest.approx(found.best_s[base])
    logs = np.log(found.static_s).sum(axis=tuple(range(3, len(AXES))))
    assert (
        logs <= np.log(found.stay_s).sum(axis=tuple(range(3, len(AXES)))) + 1e-9
    ).all()
    assert (found.alike >= 1).all()
    rows = sum(
        int((some.space.local | (np.array(some.space.codecs) == name)).sum())
        for name in some.codecs
    )
    assert found.points == 2 * rows * some.grid.count


def test_pieces_do_not_matter(graph, monkeypatch):  # noqa: F811
    whole = made(graph, uplinks=7).outcome("latency", seed=3)
    monkeypatch.setattr("trimtab.partition.study._PIECE", 1)
    pieces = made(graph, uplinks=7).outcome("latency", seed=3)
    assert (whole.best == pieces.best).all()
    assert (whole.drawn_s == pieces.drawn_s).all()
    assert (whole.static == pieces.static).all()


def test_drawn_costs_have_the_best_and_the_one_that_stays(graph):  # noqa: F811
    some = made(graph)
    found = some.outcome("latency", draws=10)
    assert found.drawn_s.shape[0] == 2 * 1 * 2 * 10
    assert np.isin(found.drawn_s.min(axis=1), found.best_s).all()
    rows = np.arange(len(found.drawn_s))
    assert np.isfinite(found.drawn_s[rows, found.drawn_stay]).all()


def test_private_layers_leave_no_end_in_the_cloud(graph):  # noqa: F811
    found = made(graph, limits=Limits(private_layers=1)).outcome("latency")
    assert found.cloud_s is None
    assert found.compressed_s is None
    assert found.edge_s is not None


def test_compressed_input_is_the_input_with_fewer_bytes(graph):  # noqa: F811
    some = made(graph, codecs=("raw",))
    found = some.outcome("latency")
    size = some.space.sizes[some.space.positions == 0][0]
    rates = np.array(some.grid.uplink_bytes_per_s)
    assert found.cloud_s is not None
    assert found.compressed_s is not None
    saved = (found.cloud_s - found.compressed_s)[0, 0, 0, :, 0, 0, 0, 0, 0]
    assert saved == pytest.approx((size - 150.0) / rates)


def test_a_fit_scales_each_part(graph):  # noqa: F811
    plain = made(graph).outcome("latency")
    twice = made(graph, fit=Fit(edge_scale=2.0, cloud_scale=2.0, link_scale=2.0))
    assert twice.outcome("latency").best_s == pytest.approx(2 * plain.best_s)
    late = made(graph, fit=Fit(link_s=1.0)).outcome("latency")
    assert late.edge_s == pytest.approx(plain.edge_s)
    assert late.cloud_s == pytest.approx(plain.cloud_s + 1.0)


def test_each_pressure_has_its_profile(graph):  # noqa: F811
    some = made(graph)
    short = replace(some.edges[0], profiles=some.edges[0].profiles[:1])
    for edges in ((short,), ()):
        with pytest.raises(UsageError, match="each pressure"):
            Simulation(some.space, edges, some.clouds, some.grid)
