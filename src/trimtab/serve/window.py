"""What a server has seen in one period: all that its controller is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["Window"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A period of work.

    Attributes:
        at_s: its end.
        period_s: its length.
        arrived_s: times of the queries that arrived, ascending.
        items: of each of them.
        finished: version of the schedule and latency of each query that was answered.
        batches: items and service time of each batch that workers finished.
        oldest_s: that the oldest chunk in the queue has waited.
        shed: queries that were refused.
    """

    at_s: float
    period_s: float
    arrived_s: Sequence[float]
    items: Sequence[int]
    finished: Sequence[tuple[int, float]]
    batches: Sequence[tuple[int, float]]
    oldest_s: float = 0.0
    shed: int = 0
