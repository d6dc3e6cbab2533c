"""Rank correlation of figures with accuracy, and what one is ahead of another."""

import math

import pytest
from benchmarks.design.correlate import correlated, figures


def record(accuracy, score, parameters):
    return {
        "accuracy": {"x": accuracy}, "score": score, "parameters": parameters,
        "multiply_adds": parameters, "entropy": -score,
        "proxies": {"flops": 1.0 * parameters, "synflow x": score, "synflow y": 0.0},
    }  # fmt: skip


# Accuracy follows the score; the parameters say little.
RECORDS = [record(i + (i % 3) / 2, i, (i * 7) % 20) for i in range(20)]


def test_what_follows_accuracy_is_ahead():
    found = correlated(RECORDS, "x")
    assert found["S"]["spearman"][0] > 0.97
    assert found["entropy"]["spearman"][0] == -found["S"]["spearman"][0]
    value, low, high = found["parameters"]["ahead"]
    assert 0 < low < value < high
    assert found["S"]["ahead"] == [0.0, 0.0, 0.0]
    assert found["FLOPs"]["ahead"] == found["parameters"]["ahead"]
    low, high = found["S"]["kendall"][1:]
    assert 0.8 < low <= high <= 1.0


def test_proxies_of_other_columns_are_left_out():
    found = figures(RECORDS[1], "x")
    assert found["synflow"] == 1
    assert set(found) == {
        "S", "parameters", "FLOPs", "entropy", "flops of the table", "synflow",
    }  # fmt: skip


def test_a_network_that_sees_nothing_is_below_all_others():
    found = figures({**RECORDS[0], "score": -math.inf}, "x")
    assert found["S"] < -1e6
    assert correlated([*RECORDS, {**RECORDS[0], "score": -math.inf}], "x")["S"][
        "spearman"
    ][0] == pytest.approx(0.98, abs=0.02)
