"""Rankings: complete, pure, by family; the best first."""

import pytest

from trimtab.compiler import tune
from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.model import timing_of
from trimtab.compiler.spaces import contraction, pool, winograd_plan
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.contraction_model import points
from trimtab.compiler.spaces.elementwise import Elementwise
from trimtab.compiler.spaces.parts import pieces
from trimtab.compiler.spaces.recurrent import Recurrent
from trimtab.compiler.tune import families_of, family_of, rank
from trimtab.hardware.load import machine as find_machine

MACHINE = find_machine("milan")


def layer(channels=32, size=14, halo=(1, 3, 1, 3)):
    shape = (1, channels, size, size)
    return Contraction(
        input=packed(shape, block=8, halo=halo),
        output=packed(shape, block=8),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
        bias=True,
    )


def test_a_ranking_judges_every_legal_schedule_of_every_family() -> None:
    work = layer()
    ranking = rank(work, MACHINE)
    direct = set(points(work, lanes=8, threads=1))
    found = set(ranking.points)
    assert direct < found
    assert {type(each) for each in found - direct} == {winograd_plan.Point}
    assert sorted(ranking.order.tolist()) == list(range(len(ranking.points)))
    latency = ranking.latency_s[ranking.order]
    assert latency[0] <= 1.01 * latency.min()
    assert (latency > 0).all()


def test_a_schedule_belongs_to_one_family() -> None:
    work = layer()
    families = families_of(work)
    assert [each.name for each in families] == ["contraction", "winograd"]
    for point in (contraction.Point(1, 1, 1, 1, "nghw"),):
        assert family_of(work, point).name == "contraction"
    winograd = next(
        p for p in rank(work, MACHINE).points if isinstance(p, winograd_plan.Point)
    )
    assert family_of(work, winograd).name == "winograd"


def test_tiles_that_reach_beyond_the_zeros_are_none() -> None:
    # 14 rows in tiles of 4 reach to row 16: two zeros beside that of the padding.
    tiles = {
        halo: {p.tile for p in rank(layer(halo=halo), MACHINE).points
               if isinstance(p, winograd_plan.Point)}
        for halo in ((1, 1, 1, 1), (1, 3, 1, 3))
    }  # fmt: skip
    assert tiles == {(1, 1, 1, 1): {2}, (1, 3, 1, 3): {2, 4}}


def test_given_schedules_are_judged_in_their_order() -> None:
    work = layer()
    some = points(work, lanes=8, threads=1)[10:60]
    ranking = rank(work, MACHINE, points=some)
    assert list(ranking.points) == some
    whole = rank(work, MACHINE)
    for index, point in enumerate(some):
        assert ranking.latency_s[index] == whole.latency_s[whole.points.index(point)]


def test_equal_questions_have_equal_answers() -> None:
    one, other = (rank(layer(), MACHINE, seed=3) for _ in range(2))
    assert one.points == other.points
    assert (one.order == other.order).all()
    assert (one.latency_s == other.latency_s).all()


def test_evolution_comes_near_the_best_of_a_space_too_large(monkeypatch) -> None:
    work = layer(64, 28, (1, 1, 1, 1))
    whole = rank(work, MACHINE)
    monkeypatch.setattr(tune, "_WHOLE", 100)
    found = rank(work, MACHINE, seed=1)
    assert len(found.points) < len(whole.points) / 3
    assert found.latency_s.min() <= 1.03 * whole.latency_s.min()
    again = rank(work, MACHINE, seed=1)
    assert found.points == again.points


def test_two_threads_are_faster_and_may_share_two_loops() -> None:
    one, two = (rank(layer(), MACHINE, threads=each) for each in (1, 2))
    assert two.latency_s.min() < one.latency_s.min()
    direct = [p for p in two.points if isinstance(p, contraction.Point)]
    assert {each.fused for each in direct} == {0, 1, 2}


def test_streams_take_the_order_of_their_module() -> None:
    shape = (1, 16, 8, 8)
    work = Elementwise(
        output=packed(shape, block=8), formula=IDENTITY, operands=(row_major(shape),)
    )
    (family,) = families_of(work)
    ranking = rank(work, MACHINE)
    lanes = timing_of(MACHINE).lanes
    assert list(ranking.points) == list(family.points(work, lanes=lanes, threads=1))
    assert ranking.order[0] == 0
    assert family.knobs(work, lanes=lanes, threads=1).size == len(ranking.points)
    assert not family.reads_code


def test_pieces_of_a_stream_that_cannot_run_at_once_are_not_faster() -> None:
    def best(*shape: int, threads: int) -> float:
        work = Elementwise(
            output=row_major(shape), formula=IDENTITY, operands=(row_major(shape),)
        )
        return float(rank(work, MACHINE, threads=threads).latency_s.min())

    alone = best(512, 64, threads=1)
    assert best(512, 64, threads=2) == pytest.approx(alone / 2 + 1e-6)
    assert best(1, 4, threads=2) == best(1, 4, threads=1)


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_a_recurrence_runs_samples_at_once_but_no_steps(cell) -> None:
    def best(samples: int, threads: int, time: int = 16) -> float:
        gates = {"lstm": 4, "gru": 3}.get(cell, 1)
        work = Recurrent(
            cell=cell,
            gates=row_major((time, samples, gates * 64)),
            output=row_major((time, samples, 64)),
            initial=None,
            final=row_major((samples, 64)),
        )
        ranking = rank(work, MACHINE, threads=threads, cold=False)
        return float(ranking.latency_s[ranking.order[0]])

    assert best(1, 2) == best(1, 1)
    assert best(8, 2) == pytest.approx(best(8, 1) / 2, rel=0.15)
    assert best(1, 1, time=32) == pytest.approx(2 * best(1, 1), rel=0.05)
    # The least a step takes: each product waits for the sum it is added to.
    timing = timing_of(MACHINE)
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    products = 64 * gates * 64 / timing.lanes
    assert best(1, 1) >= 16 * products / timing.fmas / timing.frequency_hz


def test_pools_say_what_their_loops_say() -> None:
    shape = (2, 16, 9, 9)
    work = pool.Pool(
        kind="max", input=packed(shape, block=8), output=packed(shape, block=8),
        kernel=(1, 1), stride=(1, 1), padding=(0, 0),
    )  # fmt: skip
    for point in pool.points(work, lanes=8, threads=2):
        loops = pool.kernel(work, point, lanes=8, threads=2, name="k")
        said = pool.at_once(work, point, lanes=8)
        assert min(said, 2) == min(pieces(loops), 2), point


def test_cold_weights_are_one_more_limit() -> None:
    work = layer(512, 7, (1, 1, 1, 1))
    hot, cold = (rank(work, MACHINE, cold=each) for each in (False, True))
    assert set(cold.limits_s) - set(hot.limits_s) == {"cold weights"}
    assert (cold.latency_s >= hot.latency_s).all()
    direct = [isinstance(each, contraction.Point) for each in cold.points]
    weights = 4 * 512 * 512 * 3 * 3 / MACHINE.memory_bandwidth(1)
    assert (cold.latency_s[direct] >= weights).all()
