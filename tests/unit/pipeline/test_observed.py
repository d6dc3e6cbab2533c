"""What was observed corrects the next estimate."""

import math

import pytest

from trimtab.bundle.observations import Observation
from trimtab.pipeline.observed import correction, correction_of


def seen(measured, predicted, *, host="h", threads=1.0, kind="latency", **more):
    values = {"measured_s": measured, "predicted_s": predicted, "threads": threads}
    return Observation(
        kind=kind, date=f"2026-01-{len(more) + 1:02}", host=host,
        values={**values, **more},
    )  # fmt: skip


def factor(found, **which):
    made = correction(found, **{"host": "h", "threads": 1, "code": False, **which})
    return None if made is None else made.factor


def test_it_is_the_median_of_measured_over_predicted():
    found = [seen(2.0, 1.0), seen(3.0, 1.0), seen(50.0, 1.0)]
    assert factor(found) == pytest.approx(3.0)
    made = correction(found, host="h", threads=1, code=False)
    assert made is not None
    assert made.count == 3
    assert "times 3, by 3 observation(s) of it in PyTorch on host h" in str(made)


def test_of_another_host_other_threads_or_another_kind_nothing_counts():
    found = [seen(2.0, 1.0)]
    assert factor(found, host="other") is None
    assert factor(found, threads=2) is None
    assert factor(found, code=True) is None
    assert factor([]) is None


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1e9])
def test_a_value_beyond_reason_does_not_count(wrong):
    assert factor([seen(wrong, 1.0)]) is None
    assert factor([seen(1.0, wrong)]) is None


def test_what_was_predicted_with_a_correction_counts_without_it():
    # The model said 1 s, corrected by 4 it was 4 s, and 6 s were measured.
    assert factor([seen(6.0, 4.0, corrected_by=4.0)]) == pytest.approx(6.0)


def test_of_machine_code_all_batch_sizes_count():
    values = {
        "measured_batch_1_s": 2.0, "predicted_batch_1_s": 1.0,
        "measured_batch_8_s": 32.0, "predicted_batch_8_s": 4.0, "threads": 1.0,
    }  # fmt: skip
    found = [Observation(kind="batches", date="d", host="h", values=values)]
    assert factor(found, code=True) == pytest.approx(math.sqrt(2 * 8))


def test_only_the_newest_count():
    old = [seen(100.0, 1.0)] * 30
    assert factor([*old, *[seen(2.0, 1.0)] * 20]) == pytest.approx(2.0)


def test_a_network_that_is_no_bundle_was_not_observed(tmp_path):
    assert correction_of(str(tmp_path), host="h", threads=1) is None
    assert correction_of("zoo:lenet5", host="h", threads=1) is None
    assert correction_of("zoo:lenet5", host="", threads=1) is None
