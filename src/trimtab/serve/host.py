"""What serves: workers that are alike, perhaps an accelerator beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from trimtab.errors import UsageError
from trimtab.serve.curves import ServiceCurve

__all__ = ["Host"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What serves.

    Attributes:
        curve: of each worker.
        workers: that are alike.
        accelerator: of whole queries, or None.

    Raises:
        UsageError: no workers.
    """

    curve: ServiceCurve
    workers: int
    accelerator: ServiceCurve | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(
                f"a host with {self.workers} workers",
                rule="it has at least one",
                where="trimtab.serve.Host",
                remedy="give 1 or more",
            )
