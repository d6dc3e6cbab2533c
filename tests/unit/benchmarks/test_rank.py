import statistics
import time

import numpy as np
import pytest
from benchmarks.compile import rank
from benchmarks.compile.rank import copies_of, measure, rows, summary
from benchmarks.compile.workloads import WORKLOADS


class Spin:
    """A kernel that takes a known CPU time."""

    def __init__(self, seconds, weight_bytes):
        self.seconds = seconds
        self.weight_bytes = weight_bytes
        self.copies = 0

    def calls(self, copies):
        self.copies = copies

        def call():
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                pass

        return [call] * copies


class Toy:
    """A space whose point n takes n times 0.2 ms; the model is wrong by a factor."""

    def __init__(self, pick, weight_bytes=2**20, legal=7):
        self.pick = pick
        self.weight_bytes = weight_bytes
        self.count = legal
        self.built = []

    def legal(self):
        return self.count

    def sample(self, count, seed):
        order = np.random.default_rng(seed).permutation(self.count)[:count]
        return [int(each) + 1 for each in order]

    def predicted_s(self, points, *, cold):
        return [3e-4 * point for point in points]

    def first_pick(self):
        return self.pick, 0.5

    def build(self, point):
        kernel = Spin(2e-4 * point, self.weight_bytes)
        self.built.append(kernel)
        return kernel


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(rank, "_FINAL_ROUNDS", 5)
    monkeypatch.setattr(rank, "_ROUNDS", 1)


def test_a_space_is_measured_hot_and_cold_and_summed_up(quick):
    space = Toy(pick=2)
    found = measure(space, count=7, cache_bytes=2**21)
    assert (found["legal"], found["candidates"]) == (7, 7)
    assert max(each.copies for each in space.built) == int(2 * 2**21 / 2**20) + 1
    for mode in ("hot", "cold"):
        assert len(found[mode]["samples_s"]) == 7
        assert set(found[mode]["points"]) == set("1234567")
        one = summary(found[mode])
        assert one["spearman"] > 0.9
        assert one["spread"] == pytest.approx(6.4 / 1.6, rel=0.3)
        assert one["regret"] == pytest.approx(2 / 1 - 1, rel=0.3)
        assert one["predicted_s"] == 3e-4 * 2


def test_without_constant_weights_nothing_is_cold(quick):
    found = measure(Toy(pick=1, weight_bytes=0, legal=3), count=3)
    assert found["cold"] == {"without": "the operator has no constant weights"}
    assert summary(found["hot"])["regret"] < 0.2


def result(predicted, times, final):
    return {
        "predicted_s": predicted,
        "pick_predicted_s": 1.0,
        "samples_s": [[each] for each in times],
        "final_s": {name: [each] for name, each in final.items()},
    }


def test_the_pick_has_no_regret_where_it_is_the_best():
    one = summary(result([1, 2, 3], [1.0, 2.0, 3.0], {"0": 1.0, "pick": 0.5}))
    assert (one["regret"], one["best_s"], one["spearman"]) == (0.0, 0.5, 1.0)


def test_regret_is_of_the_times_taken_in_turn_not_of_a_lucky_one():
    measured = result([1, 2, 3], [1.0, 2.0, 3.0], {"0": 1.5, "pick": 1.8})
    assert summary(measured)["regret"] == pytest.approx(1.8 / 1.5 - 1)


def test_a_model_that_predicts_the_same_for_all_has_no_correlation():
    one = summary(result([1, 1, 1], [1.0, 2.0, 3.0], {"pick": 1.0}))
    assert (one["spearman"], one["spearman_interval"]) == (0.0, (0.0, 0.0))


def test_times_of_a_candidate_count_by_their_median():
    measured = result([1, 2, 3], [1.0, 2.0, 3.0], {"pick": 1.0})
    measured["samples_s"][0] = [1.0, 1.0, 50.0]
    assert summary(measured)["spearman"] == 1.0


def both(regret, predicted, times):
    one = result(predicted, times, {"0": 1.0, "pick": 1.0 + regret})
    return {"legal": 2000, "hot": one, "cold": one}


def test_goals_are_of_all_operators_of_a_target_and_mode():
    names = list(WORKLOADS)[:3]
    wide, narrow = [1.0, 2.0, 4.0], [1.0, 1.1, 1.2]
    results = {
        f"rank/{names[0]}/avx2": both(0.0, [1, 2, 3], wide),
        f"rank/{names[1]}/avx2": both(0.21, [1, 3, 2], wide),
        f"rank/{names[2]}/avx2": both(0.1, [3, 2, 1], narrow),
    }
    found = {row.id: row for row in rows(results, {"avx2": "AVX2"})}
    mean = found["compile/rank/avx2/hot/regret"]
    expected = statistics.geometric_mean([1.0, 1.21, 1.1]) - 1
    assert mean.value == pytest.approx(expected)
    assert mean.goal == 0.05
    worst = found["compile/rank/avx2/hot/regret_worst"]
    assert worst.value == pytest.approx(0.21)
    assert worst.goal == 0.15
    assert worst.note == names[1]
    # The third operator's times lie too close together for an order.
    spearman = found["compile/rank/avx2/cold/spearman"]
    assert spearman.value == pytest.approx((1.0 + 0.5) / 2)
    assert spearman.goal == 0.85
    assert spearman.note == "2 of 3 operators"
    assert found[f"compile/rank/avx2/hot/{names[1]}"].value == pytest.approx(0.21)
    assert found["compile/rank/legal_points"].value == 2000


def test_what_is_not_measured_has_rows_without_values():
    found = rows({}, {"this": "this machine"})
    assert len(found) == 1 + 2 * (3 + len(WORKLOADS))
    assert {row.value for row in found} == {None}
    assert {row.note for row in found} == {"not measured"}


def test_small_spaces_are_named():
    name = next(iter(WORKLOADS))
    few = {**both(0.0, [1, 2, 3], [1.0, 2.0, 3.0]), "legal": 60}
    row = rows({f"rank/{name}/this": few}, {"this": "this"})[0]
    assert (row.value, row.goal, row.note) == (60, 1000, f"{name} 60")


def test_copies_fill_the_cache_twice_within_bounds():
    assert copies_of(10, 100) == 2 * 100 // 10 + 1
    assert copies_of(1, 2**30) == 2048
    assert copies_of(2**30, 1) == 2


def test_every_named_operator_is_there():
    kernels = [
        (each.kernel, each.stride, each.groups > 1)
        for each in WORKLOADS.values()
        if each.kind == "conv2d"
    ]
    assert kernels.count((3, 1, False)) == 4
    assert {(1, 1, False), (3, 2, False), (3, 1, True)} <= set(kernels)
    assert {"dense_1", "matmul_512", "matmul_1024", "batch_matmul"} <= set(WORKLOADS)
