"""How many replicas there are to be, as the controller of Ray Serve asks for it.

Imports no Ray: it is called with what that controller knows, and hands it to the rule.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from trimtab.serve.cluster import Autoscaler, Look, Scaling

__all__ = ["LOOK_S", "HeadroomPolicy"]

_LOG = logging.getLogger(__name__)
LOOK_S: Final = 1.0
"""Between two looks at the replicas."""


@final
class HeadroomPolicy:
    """How many replicas there are to be, for the controller of Ray Serve.

    It is called ten times a second, and looks once a second at what replicas have told.

    Args:
        scaling: fields of `Scaling`.
    """

    def __init__(self, **scaling: Any) -> None:
        self.autoscaler = Autoscaler(Scaling(**scaling))
        self._looked_s = 0.0
        self._hosts: int | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return how many there are to be, and nothing to keep."""
        target = int(context.target_num_replicas)
        at_s = float(context.current_time)
        if at_s - self._looked_s < LOOK_S:
            return target, {}
        told = _told(context.raw_metrics or {}, since_s=self._looked_s)
        starting = context.current_num_replicas != target
        if starting or len(told) < target:
            return target, {}  # who has not told yet may be what is missing
        self._looked_s = at_s
        tails = [each["tail_s"] for each in told if each["tail_s"] >= 0]
        step = self.autoscaler.observe(
            Look(
                hosts=target,
                tail_s=max(tails, default=None),
                shed=sum(each["shed"] for each in told),
                busy_frac=sum(each["busy_frac"] for each in told) / len(told),
            )
        )
        if step.action != "keep":
            _LOG.warning("%d replicas, not %d: %s", step.hosts, target, step.why)
        return step.hosts, {}


def _told(
    metrics: Mapping[str, Mapping[Any, Sequence[Any]]], *, since_s: float
) -> list[dict[str, float]]:
    """Return what each replica has told since a time, if it has: the last of it."""
    found: dict[Any, dict[str, list[float]]] = {}
    for name in ("tail_s", "shed", "busy_frac"):
        for host, series in metrics.get(name, {}).items():
            fresh = [each.value for each in series if each.timestamp > since_s]
            if fresh:
                found.setdefault(host, {})[name] = fresh
    return [
        {
            "tail_s": each["tail_s"][-1],
            "shed": sum(each["shed"]),
            "busy_frac": sum(each["busy_frac"]) / len(each["busy_frac"]),
        }
        for each in found.values()
        if len(each) == 3
    ]
