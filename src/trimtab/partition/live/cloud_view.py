"""What the live page of a cloud shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from trimtab.partition.live.cloud import Cloud
from trimtab.runtime.dashboard.state import Group, State, Target, Tile, Tone
from trimtab.runtime.dashboard.watch import Watch

__all__ = ["CloudView"]

_ENDS: Final = ("answers", "refused", "cancelled", "late", "errors")
_NOTES: Final = {
    "connections": "made so far", "frames": "taken", "requests": "whole ones",
    "answers": "given", "refused": "no room", "cancelled": "nobody waits any more",
    "errors": "that are logged", "broken": "against the rules", "late": "not begun",
}  # fmt: skip
_EVENTS: Final[Mapping[str, tuple[str, str, Tone]]] = {
    "refused": ("refused", "Connections or requests are more than the quotas.", "warn"),
    "late": ("late", "What was asked could not be begun in time.", "warn"),
    "errors": ("error", "A request could not be answered: see the log.", "bad"),
    "broken": ("connection ended", "It broke the rules, or was too slow.", "bad"),
}


@final
class CloudView:
    """What is seen of a cloud.

    Args:
        cloud: that was started.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.watch = Watch()
        self._edges = 0

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        cloud, watch, now = self.cloud, self.watch, self.cloud.state()
        watch.look(cloud.counts)
        edges = now["open_connections"]
        watch.see({
            "waiting": now["waiting"],
            "service": now["service_s"] or None,
            "edges": edges,
        })  # fmt: skip
        self._happened(edges)
        full = now["waiting"] >= cloud.quotas.queue
        trend = watch.trend
        quota = Target(name="quota", value=cloud.quotas.queue) if full else None
        return State(
            status=_connections(edges),
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
                self._now(now, full=full),
                trend("Requests by their end", "req/s",
                      {f"{name}/s": name for name in _ENDS}, stacked=True),
                trend("Requests that wait", "count", {"waiting": "waiting"},
                      target=quota),
                trend("Service time of a tail", "s", {"service": "recent mean"}),
                trend("Connections", "count", {"edges": "open"}),
                watch.log("What happened"),
                Group(
                    title="So far",
                    tiles=tuple(
                        Tile(name=name, value=value, metric=name, counter=True,
                             note=_NOTES[name],
                             tone="warn" if value and name in ("broken", "errors")
                             else "plain")
                        for name, value in cloud.counts.items()
                    ),
                ),
            ),
        )  # fmt: skip

    def _happened(self, edges: int) -> None:
        """Take what changed since the last look."""
        for name, (what, why, tone) in _EVENTS.items():
            if self.watch.grown[name]:
                self.watch.note(what, why, times=self.watch.grown[name], tone=tone)
        come = self.watch.grown["connections"]
        if come or edges > self._edges:  # or was there before the first look
            times = max(1, come)
            self.watch.note(_connections(edges), "An edge has come.", times=times)
        elif edges < self._edges:
            self.watch.note(_connections(edges), "An edge has gone.")
        self._edges = edges

    def _now(self, now: Mapping[str, Any], *, full: bool) -> Group:
        quotas = self.cloud.quotas
        return Group(
            title="Now",
            tiles=(
                Tile(name="throughput", value=self.watch.rates["answers"],
                     unit="req/s", note="last 2 s"),
                Tile(name="waiting", value=now["waiting"], metric="waiting",
                     note=f"of {quotas.queue}", tone="warn" if full else "plain"),
                Tile(name="connected", value=now["open_connections"],
                     metric="connections_open", note=f"edges, of {quotas.connections}"),
                Tile(name="on their way", value=now["held_bytes"], unit="bytes",
                     metric="held", note="of requests"),
                Tile(name="service", value=now["service_s"] or None, unit="s",
                     metric="service", note="of a tail, recent mean"),
                Tile(name="in memory", value=now["kept_bytes"], unit="bytes",
                     metric="kept", note="layers"),
            ),
        )  # fmt: skip


def _connections(count: int) -> str:
    return f"{count} connection{'' if count == 1 else 's'}"
