"""What was observed of a bundle corrects the next estimate of it on the same host."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from trimtab.bundle import observations
from trimtab.bundle.observations import Observation
from trimtab.bundle.store import is_bundle

__all__ = ["Correction", "correction", "correction_of"]

_NEWEST: Final = 20  # observations that count: a machine changes
_MOST: Final = 1e3  # a factor beyond is no observation of this network


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """By what estimates are to be multiplied.

    Attributes:
        factor: measured over predicted, the median of what was observed.
        count: of observations.
        date: of the last one, ISO 8601, UTC.
        host: fingerprint of the machine.
        code: whether machine code was observed; else PyTorch.
    """

    factor: float
    count: int
    date: str
    host: str
    code: bool

    def __str__(self) -> str:
        """Return it for people."""
        what = "its machine code" if self.code else "it in PyTorch"
        return (
            f"times {self.factor:.3g}, by {self.count} observation(s) of {what} on "
            f"host {self.host}, the last of {self.date}"
        )


def correction(
    found: Sequence[Observation], *, host: str, threads: int, code: bool
) -> Correction | None:
    """Return what observations say of estimates; None where there are none to go by.

    Args:
        found: oldest first.
        host: fingerprint of the machine that is estimated.
        threads: of a call.
        code: whether machine code is estimated.

    Example:
        >>> seen = Observation(
        ...     kind="latency", date="2026-01-01", host="h",
        ...     values={"measured_s": 3.0, "predicted_s": 2.0, "threads": 1},
        ... )
        >>> round(correction([seen], host="h", threads=1, code=False).factor, 6)
        1.5
        >>> correction([seen], host="another", threads=1, code=False) is None
        True
    """
    kind = "batches" if code else "latency"
    mine = [
        (each, factor)
        for each in found
        if each.kind == kind
        and each.host == host
        and each.values.get("threads", 1) == threads
        and (factor := _factor(each)) is not None
    ][-_NEWEST:]
    if not mine:
        return None
    return Correction(
        factor=statistics.median(factor for _, factor in mine),
        count=len(mine),
        date=mine[-1][0].date,
        host=host,
        code=code,
    )


def correction_of(
    spec: str, *, host: str, threads: int, code: bool = False
) -> Correction | None:
    """Return what was observed of a network; None of one that is no bundle.

    Args:
        spec: of a network.
        host: fingerprint of the machine that is estimated; "" for one of the
            catalogue.
        threads: of a call.
        code: whether machine code is estimated.

    Raises:
        BundleError: the observations beside the bundle are none.
    """
    path = Path(spec)
    if not host or not is_bundle(path):
        return None
    return correction(observations.read(path), host=host, threads=threads, code=code)


def _factor(seen: Observation) -> float | None:
    """Return measured over predicted, as it was before any correction."""
    values = seen.values
    if seen.kind == "latency":
        pairs = [(values.get("measured_s"), values.get("predicted_s"))]
    else:
        pairs = [
            (value, values.get(name.replace("measured", "predicted", 1)))
            for name, value in values.items()
            if name.startswith("measured_batch_")
        ]
    logs = list(_logs(pairs))
    if not logs:
        return None
    found = math.exp(statistics.fmean(logs)) * values.get("corrected_by", 1.0)
    return found if 1 / _MOST < found < _MOST else None


def _logs(pairs: Iterable[tuple[float | None, float | None]]) -> Iterable[float]:
    for measured, predicted in pairs:
        if measured and predicted and measured > 0 and predicted > 0:
            yield math.log(measured) - math.log(predicted)
