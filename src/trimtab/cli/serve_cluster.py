"""`trimtab serve NETWORK --cluster ADDRESS`: the same on the hosts of a Ray cluster."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from trimtab.runtime.web import Server
    from trimtab.serve.live.opening import Wanted

__all__ = ["check_cluster", "start_cluster"]

_SHOWN = (
    "queries", "answers", "shed", "failed", "gone", "again", "batches", "joined",
    "restarts",
    "replicas", "workers",
)  # fmt: skip


def check_cluster(address: str | None, replicas: str | None) -> None:
    """Refuse what cannot be, before there is work.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: an address or a number of replicas that is none.
    """
    from trimtab.serve.cluster import parse_replicas

    if replicas is not None:
        parse_replicas(replicas)
        if address is None:
            raise UsageError(
                f"{replicas} replicas on this host",
                rule="there is one a host",
                where="--replicas",
                remedy="give --cluster auto, or --workers for more processes",
            )
    if address is None:
        return
    from trimtab.runtime.cluster import check_address

    check_address(address)


def start_cluster(
    wanted: Wanted,
    address: str,
    replicas: str | None,
    serve: Callable[[FastAPI], Server],
    *,
    dashboard: bool,
    as_json: bool,
) -> None:
    """Place replicas, answer queries until told to end, and take them away.

    Args:
        wanted: what each of them serves.
        address: of the cluster.
        replicas: as `parse_replicas` takes them; None for up to one a node.
        serve: returns a server of an application.
        dashboard: whether there is a live page, too.
        as_json: what is printed.
    """
    from trimtab.runtime.signals import told
    from trimtab.serve.cluster import parse_replicas
    from trimtab.serve.live.cluster import Cluster
    from trimtab.serve.live.cluster_http import cluster_app
    from trimtab.serve.live.http import model_of

    least, most = (1, None) if replicas is None else parse_replicas(replicas)
    wanted = replace(wanted, settings=_everywhere(wanted.settings))
    cluster = Cluster(wanted, address, least=least, most=most)
    with contextlib.ExitStack() as stack:
        with progress_bar(quiet=as_json) as progress:
            progress("serve", 0.0, f"placing replicas on {address}")
            stack.enter_context(cluster)
            progress("serve", 1.0, f"{cluster.replicas} replicas")
        gc.collect()
        gc.freeze()  # what was imported stays
        gc.enable()  # each connection leaves cycles
        wait = stack.enter_context(told())
        # The server ends before the replicas: it answers what it has accepted.
        served = stack.enter_context(serve(cluster_app(cluster, shown=dashboard)))
        _say(cluster, f"{served.url}{model_of(cluster).path}", served.url, as_json)
        if dashboard and not as_json:
            console().print(f"live page: {served.url}/")
        wait()
    state = cluster.state()
    if as_json:
        changes = [{"at_s": at_s, "replicas": each} for at_s, each in cluster.changes]
        print_json({**state, "changes": changes[-100:]})
        return
    rows = [(key, str(state[key])) for key in _SHOWN]
    console().print(table("Served", [("", ""), ("", "")], rows))


def _everywhere(settings: Any) -> Any:
    """Return settings whose files are named so that any folder will do."""
    spec, weights = settings.spec, settings.weights
    if Path(spec).exists():
        spec = str(Path(spec).absolute())
    if weights is not None:
        weights = str(Path(weights).absolute())
    return replace(settings, spec=spec, weights=weights)


def _say(cluster: Any, asked: str, url: str, as_json: bool) -> None:
    scaling = cluster.scaling
    if as_json:
        print_json({
            "http": url, "infer": asked, "why": cluster.why,
            "target": {"latency_s": scaling.target_s},
            "replicas": {"now": cluster.replicas, "least": scaling.least,
                         "most": scaling.most},
        })  # fmt: skip
        return
    out = console()
    out.print(plain(cluster.why), soft_wrap=True)
    out.print(
        plain(f"{cluster.replicas} replicas, {scaling.least} to {scaling.most}"),
        soft_wrap=True,
    )
    out.print(plain(f"POST {asked}; stop it with Ctrl-C"), soft_wrap=True)
