"""A verdict has a limit, a value, a unit and a slack."""

from __future__ import annotations

import math

import pytest

from trimtab.cost.verdict import Budget, Verdict, fits
from trimtab.errors import UsageError


def verdict(
    value: float, limit: float, *, at_least: bool = False, unit: str = "s"
) -> Verdict:
    return Verdict(
        name="quantity", value=value, limit=limit, unit=unit, at_least=at_least
    )


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "slack", "kept"),
    [
        (7, 10, False, 10 - 7, True),
        (10, 10, False, 0, True),
        (13, 10, False, 10 - 13, False),
        (7, 10, True, 7 - 10, False),
        (10, 10, True, 0, True),
        (13, 10, True, 13 - 10, True),
    ],
)
def test_slack_is_what_is_left(
    value: int, limit: int, at_least: bool, slack: int, kept: bool
) -> None:
    found = verdict(value, limit, at_least=at_least)
    assert (found.slack, found.fits) == (slack, kept)


@pytest.mark.parametrize("at_least", [False, True])
def test_what_is_no_number_keeps_no_limit(at_least: bool) -> None:
    assert not verdict(math.nan, 10, at_least=at_least).fits


def test_sentences() -> None:
    assert str(verdict(0.001, 0.003)) == (
        "quantity 1.00 ms keeps the limit 3.00 ms with 2.00 ms to spare"
    )
    assert str(verdict(0.004, 0.001)) == (
        "quantity 4.00 ms exceeds the limit 1.00 ms by 3.00 ms"
    )
    assert str(verdict(0.75, 0.875, at_least=True, unit="frac")) == (
        "quantity 75.0 % falls short of the limit 87.5 % by 12.5 %"
    )
    assert str(verdict(2**20, 2**20, unit="bytes")) == (
        "quantity 1.00 MiB keeps the limit 1.00 MiB with 0 B to spare"
    )


def test_a_budget_judges_what_it_limits_and_what_is_known() -> None:
    budget = Budget(parameters=10, weight_bytes=100, accuracy_frac=0.75)
    verdicts = budget.judge({"parameters": 7, "accuracy_frac": 0.5, "latency_s": 1.0})
    assert verdicts == (
        Verdict(name="parameters", value=7, limit=10, unit="count"),
        Verdict(
            name="accuracy_frac", value=0.5, limit=0.75, unit="frac", at_least=True
        ),
    )
    assert [each.slack for each in verdicts] == [10 - 7, 0.5 - 0.75]
    assert not fits(verdicts)
    assert fits(verdicts[:1])


def test_every_quantity_can_be_judged_in_its_unit() -> None:
    units = {
        "parameters": "count", "multiply_adds": "count", "weight_bytes": "bytes",
        "peak_bytes": "bytes", "latency_s": "s", "accuracy_frac": "frac",
    }  # fmt: skip
    budget = Budget(
        parameters=1, multiply_adds=1, weight_bytes=1, peak_bytes=1, latency_s=1.0,
        accuracy_frac=1.0,
    )  # fmt: skip
    verdicts = budget.judge(dict.fromkeys(units, 1.0))
    assert {each.name: each.unit for each in verdicts} == units
    assert [each.name for each in verdicts if each.at_least] == ["accuracy_frac"]


def test_no_limit_is_no_verdict_and_fits() -> None:
    assert Budget().judge({"parameters": 10**12}) == ()
    assert fits(())


@pytest.mark.parametrize("limit", [0, -1, math.nan])
@pytest.mark.parametrize("name", ["parameters", "latency_s", "accuracy_frac"])
def test_a_limit_is_positive(name: str, limit: float) -> None:
    with pytest.raises(UsageError) as caught:
        Budget(**{name: limit})  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"`Budget({name}=...)` of {limit}: a limit must be positive and "
        "finite. Give a positive "
        "number, or leave it out."
    )


def test_an_accuracy_in_percent_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Budget(accuracy_frac=95)
    assert str(caught.value) == (
        "`Budget(accuracy_frac=...)` of 95: a share is at most 1. Write 0.95 for 95 %."
    )
