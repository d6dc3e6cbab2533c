"""What the live page of a cloud shows."""

from __future__ import annotations

import time
from typing import Final, final

from trimtab.partition.live.cloud import Cloud
from trimtab.runtime.dashboard.history import History, Rates
from trimtab.runtime.dashboard.state import Group, State, Target, Tile

__all__ = ["CloudView"]

_WINDOW_S: Final = 180.0  # that figures show


@final
class CloudView:
    """What is seen of a cloud.

    Args:
        cloud: that was started.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._history = History(_WINDOW_S)
        self._rates = Rates()

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        at_s = time.monotonic()
        cloud, now = self.cloud, self.cloud.state()
        rates = self._rates.see(cloud.counts, at_s=at_s)
        gone = ("refused", "cancelled", "late", "errors")
        self._history.see(
            {
                **{f"{name}/s": rates[name] for name in ("answers", *gone)},
                "waiting": now["waiting"],
                "service": now["service_s"] or None,
                "open": now["open_connections"],
            },
            at_s=at_s,
        )
        edges = now["open_connections"]
        full = now["waiting"] >= cloud.quotas.queue
        trend = self._history.trend
        return State(
            status=f"{edges} connection{'' if edges == 1 else 's'}",
            tone="warn" if full else "good" if edges else "plain",
            heading="Answers for",
            headline=f"{cloud.halves.graph.name}, from any of "
            f"{len(cloud.halves.cuts)} cuts",
            reasons=(
                f"Codecs: {', '.join(each.name for each in cloud.halves.codecs)}.",
                "Edges show certificates." if cloud.tls else "Without TLS.",
                f"At most {cloud.quotas.connections} connections, "
                f"{cloud.quotas.queue} requests that wait.",
            ),
            blocks=(
                Group(
                    title="Now",
                    tiles=(
                        Tile(name="throughput", value=rates["answers"], unit="req/s",
                             note="last 2 s"),
                        Tile(name="waiting", value=now["waiting"], metric="waiting",
                             note=f"of {cloud.quotas.queue}",
                             tone="warn" if full else "plain"),
                        Tile(name="connections", value=edges, metric="connections_open",
                             note=f"of {cloud.quotas.connections}"),
                        Tile(name="on their way", value=now["held_bytes"], unit="bytes",
                             metric="held"),
                        Tile(name="service", value=now["service_s"] or None, unit="s",
                             metric="service", note="of a tail, recent mean"),
                    ),
                ),
                trend("Requests by their end", "req/s",
                      {f"{name}/s": name for name in ("answers", *gone)},
                      at_s=at_s, stacked=True),
                trend("Requests that wait", "count", {"waiting": "waiting"}, at_s=at_s,
                      target=Target(name="quota", value=cloud.quotas.queue)
                      if full else None),
                Group(
                    title="Since it started",
                    tiles=tuple(
                        Tile(name=name, value=value, metric=name, counter=True,
                             tone="warn" if value and name in ("broken", "errors")
                             else "plain")
                        for name, value in cloud.counts.items()
                    ),
                ),
                trend("Service time of a tail", "s", {"service": "recent mean"},
                      at_s=at_s),
                trend("Connections", "count", {"open": "open"}, at_s=at_s),
            ),
        )  # fmt: skip
