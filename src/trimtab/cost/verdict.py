"""Budgets and verdicts: a verdict is never a bare bool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from trimtab.errors import UsageError
from trimtab.units import format_value

__all__ = ["Budget", "Verdict", "fits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One limit of a budget and how a value stands to it.

    Attributes:
        name: of the quantity (``parameters``, ``latency_s`` ...).
        value: what the plan has.
        limit: what the budget allows.
        unit: of both.
        at_least: the limit is a minimum (accuracy), not a maximum.
    """

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def fits(self) -> bool:
        """Whether the value keeps the limit."""
        return self.slack >= 0

    @property
    def slack(self) -> float:
        """What is left, in `unit`; negative where the limit is broken."""
        room = self.limit - self.value
        return -room if self.at_least else room

    def __str__(self) -> str:
        """Return the verdict as a sentence.

        Example:
            >>> print(Verdict(name="latency_s", value=0.002, limit=0.001, unit="s"))
            latency_s 2.00 ms exceeds the limit 1.00 ms by 1.00 ms
        """
        value = format_value(self.value, self.unit)
        limit = format_value(self.limit, self.unit)
        slack = format_value(abs(self.slack), self.unit)
        if self.fits:
            return f"{self.name} {value} keeps the limit {limit} with {slack} to spare"
        verb = "falls short of" if self.at_least else "exceeds"
        return f"{self.name} {value} {verb} the limit {limit} by {slack}"


_UNITS = {
    "parameters": "count",
    "multiply_adds": "count",
    "weight_bytes": "bytes",
    "peak_bytes": "bytes",
    "latency_s": "s",
    "accuracy_frac": "frac",
    "p95_latency_s": "s",
    "throughput_per_s": "1/s",
}
_AT_LEAST = ("accuracy_frac", "throughput_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hard limits of a plan; None leaves a quantity free.

    Attributes:
        parameters: at most so many, tied weights counted once.
        multiply_adds: at most so many for one call with the example inputs.
        weight_bytes: parameters and buffers together.
        peak_bytes: activations alive at once, without weights.
        latency_s: predicted time of one call.
        accuracy_frac: at least this share of held-out examples right.
        p95_latency_s: that 95 % of queries stay within while they are served.
        throughput_per_s: at least so many queries a second within the served target.
    """

    parameters: int | None = None
    multiply_adds: int | None = None
    weight_bytes: int | None = None
    peak_bytes: int | None = None
    latency_s: float | None = None
    accuracy_frac: float | None = None
    p95_latency_s: float | None = None
    throughput_per_s: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            limit = getattr(self, each.name)
            if limit is not None and not 0 < limit < math.inf:
                raise UsageError(
                    f"`Budget({each.name}=...)` of {limit}",
                    rule="a limit must be positive and finite",
                    remedy="give a positive number, or leave it out",
                )
        if self.accuracy_frac is not None and self.accuracy_frac > 1:
            raise UsageError(
                f"`Budget(accuracy_frac=...)` of {self.accuracy_frac}",
                rule="a share is at most 1",
                remedy="write 0.95 for 95 %",
            )

    def judge(self, values: Mapping[str, float]) -> tuple[Verdict, ...]:
        """Return a verdict for every limit whose quantity is among `values`.

        Example:
            >>> [v.slack for v in Budget(parameters=10).judge({"parameters": 7})]
            [3]
        """
        return tuple(
            Verdict(
                name=each.name,
                value=values[each.name],
                limit=getattr(self, each.name),
                unit=_UNITS[each.name],
                at_least=each.name in _AT_LEAST,
            )
            for each in fields(self)
            if getattr(self, each.name) is not None and each.name in values
        )


def fits(verdicts: Sequence[Verdict]) -> bool:
    """Whether every limit is kept; true for none."""
    return all(verdict.fits for verdict in verdicts)
