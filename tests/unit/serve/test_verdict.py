"""What a run under load shows, and when it is worth nothing."""

import json
import math

import numpy as np
import pytest

from trimtab.errors import UsageError
from trimtab.serve.capacity import Target
from trimtab.serve.verdict import ENDS, Ran, judge

TARGET = Target(latency_s=0.1)


def ran(latency, *, delay_s=0.0, ends=None, planned=None, error=""):
    latency = np.asarray(latency, dtype=np.float64)
    return Ran(
        latency_s=latency,
        delay_s=np.full(latency.size, delay_s),
        ends=np.zeros(latency.size, np.int8) if ends is None else ends,
        planned=planned or latency.size,
        seconds=10.0,
        error=error,
    )


def drawn(count=2_000, mean=0.02, seed=0):
    return np.random.default_rng(seed).exponential(mean, count)


def test_a_tail_within_the_target_is_valid():
    report = judge(ran(drawn()), TARGET)
    assert report.valid
    assert report.reasons == ()
    p95 = report.latency_s["p95"]
    assert p95.low < 0.02 * math.log(20) < p95.high
    assert (report.rate_per_s, report.judged) == (200.0, 1_800)


def test_the_intervals_know_that_neighbours_are_alike():
    # The same numbers in another order: a queue that grew once is one event, not many.
    alike = np.sort(drawn())
    mixed = np.random.default_rng(1).permutation(alike)
    widths = [
        found.high - found.low
        for found in (judge(ran(each)).latency_s["p95"] for each in (alike, mixed))
    ]
    assert widths[0] > 3 * widths[1]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (ran(drawn(mean=0.05)), "are over 100 ms"),
        (ran(drawn(mean=0.0325)), "may be over"),
        (ran(drawn(), delay_s=0.006), "the load itself came late"),
        (ran(drawn(count=150)), "200 are needed"),
        (ran(drawn(), planned=3_000), "stopped after 2000 of 3000"),
    ],
)
def test_what_is_wrong_is_said(made, said):
    report = judge(made, TARGET)
    assert not report.valid
    assert any(said in each for each in report.reasons), report.reasons


def test_a_rare_tail_needs_more_queries():
    assert judge(ran(drawn(count=1_000, mean=1e-3)), TARGET).valid
    rare = judge(ran(drawn(count=1_000, mean=1e-3)), Target(latency_s=0.1, share=0.999))
    assert any("10000 are needed" in each for each in rare.reasons)


def test_what_is_refused_or_lost_is_late():
    latency, ends = drawn(mean=1e-3), np.zeros(2_000, np.int8)
    latency[::10], ends[::10] = np.inf, ENDS.index("shed")
    report = judge(ran(latency, ends=ends), TARGET)
    assert report.ends["shed"] == 200
    assert any("10.0 % of queries" in each for each in report.reasons)
    assert report.latency_s["p95"].value == math.inf
    ends[0] = ENDS.index("failed")
    ends[1] = ENDS.index("open")
    report = judge(ran(latency, ends=ends, error="it broke"))
    assert "1 queries failed: it broke" in report.reasons
    assert "1 queries were never answered" in report.reasons


def test_the_record_is_json():
    latency = drawn()
    latency[:300] = np.inf
    record = judge(ran(latency), TARGET).record()
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text)["verdict"] == "INVALID"


def test_lengths_that_differ_are_refused():
    with pytest.raises(UsageError, match="a latency, a delay and an end"):
        Ran(
            latency_s=np.zeros(2), delay_s=np.zeros(3), ends=np.zeros(2, np.int8),
            planned=2, seconds=1.0,
        )  # fmt: skip
