"""Schedules of Winograd convolutions, and what the closed form says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed
from trimtab.compiler.model import predict, timing_of
from trimtab.compiler.residence import Room
from trimtab.compiler.spaces import contraction_model
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_cost import cost
from trimtab.compiler.spaces.winograd_model import knobs, nests, points
from trimtab.compiler.spaces.winograd_plan import Plan
from trimtab.hardware.load import machine


def work(channels: int, size: int, samples: int = 1, outputs: int = 0) -> Contraction:
    outputs = outputs or channels

    def layout(count: int):
        near = 8 if count % 8 == 0 else count
        return packed((samples, count, size, size), block=near)

    return Contraction(
        input=layout(channels),
        output=layout(outputs),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("given", [work(64, 56), work(512, 7), work(20, 5), work(3, 2)])
def test_schedules_are_legal_and_differ(given: Contraction, threads: int) -> None:
    found = points(given, lanes=8, threads=threads)
    assert found
    assert len(set(found)) == len(found)
    for point in found:
        plan = Plan.of(given, point, lanes=8, threads=threads)
        assert 1 <= point.rows <= plan.block <= plan.tiles
        # Whole register tiles, unless the block is all there is.
        assert plan.block % point.rows == 0 or plan.blocks == 1
        assert point.rows * point.vectors + min(point.rows, point.vectors) < 32
        if point.split == "channels":
            assert threads > 1
            assert plan.blocks == 1
    assert {point.tile for point in found} == {2, 4}


def test_a_space_is_large() -> None:
    assert len(points(work(128, 28), lanes=8, threads=1)) >= 1000


def test_what_the_family_cannot_compute_has_no_schedule() -> None:
    strided = replace(work(64, 56), stride=(2, 2))
    assert points(strided, lanes=8, threads=1) == []


def test_knobs_are_whole_schedules() -> None:
    given = work(64, 14)
    space = knobs(given, lanes=8, threads=1)
    found = points(given, lanes=8, threads=1)
    assert space.size == len(found)
    assert [space.make(each) for each in space.choices["point"]] == found


@pytest.mark.parametrize(
    "given", [work(64, 13), work(24, 6, samples=3, outputs=72), work(12, 5, outputs=20)]
)
def test_the_closed_form_counts_what_is_computed(given: Contraction) -> None:
    some = points(given, lanes=8, threads=1)[::37]
    covered = 0
    for places, nest in nests(given, some, lanes=8, threads=1):
        fmas = sum(np.asarray(p.steps * p.body.fmas) for p in nest.parts)
        others = sum(np.asarray(p.steps * p.body.others) for p in nest.parts)
        for index, place in enumerate(places):
            found = cost(given, some[place], lanes=8, threads=1)
            assert (
                np.broadcast_to(fmas, places.shape)[index] == found.product.operations
            )
            assert np.broadcast_to(others, places.shape)[index] == (
                found.input.operations + found.output.operations
            )
        assert np.all(nest.weight_bytes() == (nest_weights(given, some[places[0]])))
        covered += len(places)
    assert covered == len(some)


def nest_weights(given: Contraction, point) -> int:
    return 4 * given.input.shape[1] * given.output.shape[1] * (point.tile + 2) ** 2


def best_s(module, given: Contraction, cold: bool = True) -> tuple[float, Any]:
    milan = machine("milan")
    found = module.points(given, lanes=8, threads=1)
    latency = np.empty(len(found))
    for places, nest in module.nests(given, found, lanes=8, threads=1):
        prediction = predict(nest, milan, timing_of(milan), cold=cold)
        latency[places] = prediction.latency_s
    return float(latency.min()), found[int(latency.argmin())]


def test_early_layers_gain_from_the_large_tile_and_late_ones_from_the_small() -> None:
    from trimtab.compiler.spaces import winograd_model

    early, late = work(64, 56), work(512, 7)
    direct = best_s(contraction_model, early)[0]
    gained, point = best_s(winograd_model, early)
    assert direct / gained > 2.0
    assert point.tile == 4
    # 37.7 MB of weights for four tiles: memory decides, 16.8 MB are better.
    assert best_s(winograd_model, late)[1].tile == 2


def test_blocks_that_leave_the_cache_cost() -> None:
    given = work(64, 224)
    near, far = (
        next(p for p in points(given, lanes=8, threads=1) if p[:4] == (4, block, 6, 2))
        for block in (12, 246)
    )
    ((_, nest),) = nests(given, [near, far], lanes=8, threads=1)
    beyond = nest.traffic([Room(size_bytes=512 * 1024)])[0]
    assert beyond[0] < beyond[1]
