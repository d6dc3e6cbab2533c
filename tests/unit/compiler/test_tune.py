import numpy as np

from trimtab.compiler import tune
from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.hardware.load import machine

MILAN = machine("milan")


def _convolution(channels=64, size=28, halo=(1, 5, 1, 5)):
    shape = (1, channels, size, size)
    return Contraction(
        input=packed(shape, block=8, halo=halo),
        output=packed(shape, block=8),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
    )


def test_direct_and_winograd_compete():
    found = tune.rank(_convolution(), MILAN)
    families = {tune.family_of(_convolution(), point).name for point in found.points}
    assert families == {"contraction", "winograd"}
    costs = found.latency_s[found.order]
    assert costs[0] == costs.min()
    assert set(found.order.tolist()) == set(range(len(found.points)))
    best = found.points[found.order[0]]
    assert tune.family_of(_convolution(), best).name == "winograd"


def test_winograd_needs_zeros_to_reach_into():
    narrow = _convolution(size=7, halo=(1, 1, 1, 1))
    names = {
        tune.family_of(narrow, point).name for point in tune.rank(narrow, MILAN).points
    }
    assert names == {"contraction"}


def test_a_good_tile_is_preferred_and_the_reasons_are_physical():
    work = _convolution()
    points = [
        point
        for point in tune.rank(work, MILAN).points
        if tune.family_of(work, point).name == "contraction"
    ]
    found = tune.rank(work, MILAN, points=points)
    best = found.points[found.order[0]]
    sums = best.rows * best.columns * best.vectors
    assert 8 <= sums <= 14, "enough sums to hide the latency, few enough for registers"
    assert len(points) >= 1000


def test_evolution_where_there_are_too_many(monkeypatch):
    work = _convolution(halo=(1, 1, 1, 1))
    whole = tune.rank(work, MILAN)
    monkeypatch.setattr(tune, "_WHOLE", 100)
    some = tune.rank(work, MILAN, seed=1)
    assert len(some.points) < len(whole.points)
    assert some.latency_s.min() <= 1.02 * whole.latency_s.min()
    assert some.points == tune.rank(work, MILAN, seed=1).points


def test_a_stream_takes_the_time_of_its_bytes():
    layout = row_major((1 << 24,))
    work = Elementwise(output=layout, formula=IDENTITY, operands=(layout,))
    found = tune.rank(work, MILAN)
    assert found.order[0] == 0, "its own rules order its schedules"
    expected = (1 + 2) * 4 * (1 << 24) / MILAN.memory_bandwidth(1)
    np.testing.assert_allclose(found.limits_s["memory"], expected)
