"""What a division depends on and cannot decide: link, load, and what is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, TypeVar, final, get_args

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError

__all__ = ["OBJECTIVES", "OVERHEAD_BYTES", "Conditions", "Limits", "Objective",
           "objective_of"]  # fmt: skip

Objective = Literal["latency", "p95", "throughput", "energy"]
Sizes = TypeVar("Sizes", float, NDArray[np.float64])
OBJECTIVES: tuple[str, ...] = get_args(Objective)


def objective_of(name: str) -> Objective:
    """Return the objective of a name.

    Raises:
        UsageError: there is none.
    """
    for each in get_args(Objective):
        if each == name:
            found: Objective = each
            return found
    raise UsageError(
        f"objective {name!r}",
        rule=f"known are {', '.join(OBJECTIVES)}",
        where="trimtab.partition",
        remedy="choose one of these",
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """State of link and machines.

    Attributes:
        uplink_bytes_per_s: goodput from edge to cloud, the median.
        downlink_bytes_per_s: from cloud to edge.
        rtt_s: round trip of a small packet.
        fading: median over low goodput, the quantile 0.05; of objective ``p95``.
        edge_slowdown: time of the edge over that of its profile.
        cloud_slowdown: the same of the cloud.
        queue_s: that a request waits in the cloud.

    Raises:
        UsageError: a number that is not finite or below its least.

    Example:
        >>> Conditions(uplink_bytes_per_s=2.5e6, rtt_s=0.04).sent_s(250_000)
        0.1401...
    """

    uplink_bytes_per_s: float
    rtt_s: float
    downlink_bytes_per_s: float = math.inf
    fading: float = 1.0
    edge_slowdown: float = 1.0
    cloud_slowdown: float = 1.0
    queue_s: float = 0.0

    def __post_init__(self) -> None:
        least = {"fading": 1.0, "rtt_s": 0.0, "queue_s": 0.0}
        for each in fields(self):
            value = getattr(self, each.name)
            low = least.get(each.name, 0.0)
            free = each.name == "downlink_bytes_per_s" and value == math.inf
            wrong = value < low or (value == 0 and each.name not in least)
            if wrong or not (math.isfinite(value) or free):
                raise UsageError(
                    f"a condition with {each.name} of {value}",
                    rule="it is finite, and "
                    + (f"at least {low:g}" if each.name in least else "above 0"),
                    where="trimtab.partition.Conditions",
                    remedy="give what the link and the machines have",
                )

    def sent_s(self, size_bytes: Sizes, *, low: bool = False) -> Sizes:
        """Return the time of a request's bytes, with the round trip.

        Args:
            size_bytes: of the payload, or of many.
            low: at the low goodput.
        """
        rate = self.uplink_bytes_per_s / (self.fading if low else 1.0)
        return self.rtt_s + (size_bytes + OVERHEAD_BYTES) / rate


OVERHEAD_BYTES = 256
"""Of a request beside its payload: frame, TLS records, TCP and IP headers."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a division must keep to.

    Attributes:
        private_layers: layers with weights that must run on the edge. That is a policy,
            no protection: inputs can be guessed from what early layers make.
        most_bytes: of a request, over the link.
        edge_bytes: of weights and activations on the edge.
        cloud_bytes: of weights and activations in the cloud.
        accuracy_loss_frac: that a codec may cost at a cut, where that was measured.

    Raises:
        UsageError: a number below 0.
    """

    private_layers: int = 0
    most_bytes: int | None = None
    edge_bytes: int | None = None
    cloud_bytes: int | None = None
    accuracy_loss_frac: float = 0.005

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and value < 0:
                raise UsageError(
                    f"a limit {each.name} of {value}",
                    rule="it is at least 0",
                    where="trimtab.partition.Limits",
                    remedy="give the limit, or leave it out",
                )
