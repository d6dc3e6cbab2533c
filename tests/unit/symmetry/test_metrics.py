"""Scores of probabilities, worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.symmetry.metrics import auroc, calibration_error, entropy, quality


def test_quality_by_hand():
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    found = quality(p, torch.tensor([0, 0, 1]))
    assert found.accuracy_frac == pytest.approx(1 / 3)
    logs = [math.log(0.8), math.log(0.4), math.log(0.1)]
    assert found.nll == pytest.approx(-sum(logs) / 3)
    assert found.brier == pytest.approx((2 * 0.04 + 2 * 0.36 + 2 * 0.81) / 3)
    # One of each bin: |1 - .8|, |0 - .6|, |0 - .9|.
    assert found.ece == pytest.approx((0.2 + 0.6 + 0.9) / 3)


def test_the_calibrated_have_no_calibration_error():
    p = torch.tensor([[0.75, 0.25]] * 4)
    assert calibration_error(p, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.0)
    sure = torch.eye(3)
    assert calibration_error(sure, torch.arange(3)) == 0.0


def test_entropy_is_largest_where_nothing_is_known():
    assert float(entropy(torch.full((1, 4), 0.25))[0]) == pytest.approx(math.log(4))
    assert float(entropy(torch.eye(2))[0]) == 0.0


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_auroc_counts_pairs_in_order(inside, outside):
    pairs = [(a < b) + 0.5 * (a == b) for a in inside for b in outside]
    found = auroc(torch.tensor(inside).float(), torch.tensor(outside).float())
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_nothing_has_no_quality():
    with pytest.raises(UsageError, match="at least one"):
        quality(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
