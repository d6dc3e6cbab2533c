"""A cluster over HTTP: the Open Inference Protocol, sums to scrape, and a page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

import torch
from fastapi import FastAPI
from torch import Tensor

from trimtab.bundle.section import Table
from trimtab.runtime.dashboard.app import create
from trimtab.runtime.dashboard.history import History, Rates
from trimtab.runtime.dashboard.state import Group, State, Target, Tile, Tone, Trend
from trimtab.runtime.estimators import Recent
from trimtab.runtime.inference import Asked
from trimtab.runtime.inference_routes import Limits, Service, add_routes
from trimtab.serve.live.http import model_of, priority_of
from trimtab.units import format_duration

if TYPE_CHECKING:
    from trimtab.serve.live.cluster import Cluster

__all__ = ["ClusterView", "cluster_app"]

_REQUESTS: Final = 900  # at once: the server takes a thousand connections
_WINDOW_S: Final = 10.0  # of percentiles
_KEPT_S: Final = 180.0  # that figures show
_PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NOTES: Final = {
    "queries": "taken", "answers": "given", "shed": "refused: 429",
    "failed": "without an answer", "gone": "who asked has left",
    "again": "a replica was lost",
    "batches": "to workers", "joined": "of several queries",
    "offloaded": "to accelerators", "restarts": "of workers",
}  # fmt: skip


@final
class ClusterView:
    """What is seen of a cluster: all replicas together, and each in a row.

    Args:
        cluster: that answers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.target = cluster, cluster.wanted.target
        self._percentiles = {**_PERCENTILES, self.target.name: self.target.share}
        self._latency = Recent(_WINDOW_S, most=20_000)
        self._history, self._rates = History(_KEPT_S), Rates()

    def answered(self, took_s: float, status: int) -> None:
        """Take how long a request took, and how it ended."""
        if status == 200:
            self._latency.see(took_s, at=time.monotonic())

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        at_s, known = time.monotonic(), self.cluster.state()
        latency = {
            name: self._latency.quantile(share, at=at_s)
            for name, share in self._percentiles.items()
        }
        counts = {each: known[each] for each in ("answers", "shed")}
        rates = self._rates.see(counts, at_s=at_s)
        self._history.see(
            {**latency, **rates, "replicas": float(known["replicas"])}, at_s=at_s
        )
        status, tone = self._status(latency[self.target.name], known)
        return State(
            status=status,
            tone=tone,
            heading="Answering",
            headline=f"{known['replicas']} replicas",
            reasons=(self.cluster.why,),
            blocks=(
                Group(title="Now", tiles=_now(latency, rates, known, self.target)),
                *self._trends(at_s),
                Group(title="So far", tiles=_counted(known)),
                _hosts(self.cluster.hosts()),
            ),
        )

    def _status(
        self, value: float | None, known: Mapping[str, Any]
    ) -> tuple[str, Tone]:
        if not known["replicas"]:
            return "no replica answers", "bad"
        if value is None:
            return "ready", "good"
        limit = format_duration(self.target.latency_s)
        said = f"{self.target.name} {format_duration(value)}, target {limit}"
        return said, "good" if value <= self.target.latency_s else "bad"

    def _trends(self, at_s: float) -> tuple[Trend, ...]:
        trend = self._history.trend
        line = Target(name=f"target of {self.target.name}", value=self.target.latency_s)
        return (
            trend("Latency", "s", {name: name for name in self._percentiles},
                  at_s=at_s, log=True, target=line),
            trend("Answers and refusals", "req/s",
                  {"answers": "answers", "shed": "refused"}, at_s=at_s, stacked=True),
            trend("Replicas", "count", {"replicas": "replicas"}, at_s=at_s),
        )  # fmt: skip


def _now(
    latency: Mapping[str, float | None],
    rates: Mapping[str, float],
    known: Mapping[str, Any],
    target: Any,
) -> tuple[Tile, ...]:
    return (
        *(
            Tile(name=f"{name} latency", value=value, unit="s",
                 metric=f"latency_{name.replace('.', '_')}",
                 note=f"HTTP, last {_WINDOW_S:.0f} s")
            for name, value in latency.items()
        ),
        Tile(name="target", value=target.latency_s, unit="s", metric="target",
             note=f"of {target.name}"),
        Tile(name="throughput", value=rates["answers"], unit="req/s", note="last 2 s"),
        Tile(name="open", value=known["open"], metric="open", note="queries"),
        Tile(name="replicas", value=known["replicas"], metric="replicas",
             note="one a host", tone="plain" if known["replicas"] else "bad"),
        Tile(name="workers", value=known["workers"], metric="workers",
             note="of all replicas"),
        Tile(name="backlog", value=known["backlog_s"], unit="s", metric="backlog",
             note="of work, all workers"),
        Tile(name="oldest", value=known["oldest_s"], unit="s", metric="oldest",
             note="in a queue"),
    )  # fmt: skip


def _counted(known: Mapping[str, Any]) -> tuple[Tile, ...]:
    return tuple(
        Tile(name=name, value=known[name], metric=name, counter=True, note=note,
             tone="bad" if name == "failed" and known[name] else "plain")
        for name, note in _NOTES.items()
    )  # fmt: skip


def _hosts(hosts: list[dict[str, Any]]) -> Table:
    return Table(
        title="Replicas",
        columns=("host", "replica", "workers", "batch", "answers", "refused", "open",
                 "p95", "oldest"),
        units=("", "", "count", "count", "count", "count", "count", "s", "s"),
        rows=tuple(
            (each["host"], each["id"], each["workers"], each["schedule"]["batch"],
             each["answers"], each["shed"], each["open"], each["latency_p95_s"],
             each["oldest_s"])
            for each in hosts
        ),
    )  # fmt: skip


def cluster_app(cluster: Cluster, *, shown: bool = False) -> FastAPI:
    """Return a server that is asked by the Open Inference Protocol.

    Args:
        cluster: that was started.
        shown: whether there is a live page, too.
    """
    view = ClusterView(cluster)

    async def answer(asked: Asked) -> Mapping[str, Tensor]:
        found = await cluster.ask(
            {name: each.numpy() for name, each in asked.values.items()},
            deadline_s=asked.timeout_s,
            priority=priority_of(asked),
        )
        # What Ray hands out is not to be written to, and PyTorch warns of such.
        return {name: torch.from_numpy(each.copy()) for name, each in found.items()}

    app = create(
        f"trimtab serve: {cluster.name}", view.state, prefix="trimtab_serve",
        shown=shown,
    )  # fmt: skip
    service = Service(
        model=model_of(cluster),
        answer=answer,
        ready=lambda: cluster.replicas > 0,
        seen=view.answered,
        limits=Limits(requests=_REQUESTS),
    )
    add_routes(app, service)
    return app
