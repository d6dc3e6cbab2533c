"""Both sides over HTTP: an edge that is asked, and pages of what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import FastAPI
from torch import Tensor

from trimtab.partition.live.cloud import Cloud
from trimtab.partition.live.cloud_view import CloudView
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.edge_view import EdgeView
from trimtab.runtime.dashboard.app import create
from trimtab.runtime.inference import Asked
from trimtab.runtime.inference_routes import Service, add_routes
from trimtab.runtime.signature import bound, model_of, named

__all__ = ["cloud_app", "edge_app"]


def cloud_app(cloud: Cloud, *, shown: bool = False) -> FastAPI:
    """Return what a cloud says of itself; it answers no inference.

    Args:
        cloud: that was started.
        shown: whether there is a live page, beside health and metrics.
    """
    title = f"trimtab cloud: {cloud.halves.graph.name}"
    view = CloudView(cloud)
    return create(title, view.state, prefix="trimtab_cloud", shown=shown)


def edge_app(edge: Edge, *, shown: bool = False) -> FastAPI:
    """Return an edge that is asked by the Open Inference Protocol.

    Args:
        edge: that was started.
        shown: whether there is a live page, too.
    """
    graph, view = edge.halves.graph, EdgeView(edge)

    async def answer(asked: Asked) -> Mapping[str, Tensor]:
        # Queries are answered in the order they come: none goes ahead.
        args, kwargs = bound(graph, asked.values)
        returned = await asyncio.wrap_future(edge.submit(*args, **kwargs))
        return named(graph, returned)

    app = create(
        f"trimtab edge: {graph.name}", view.state, prefix="trimtab_edge", shown=shown
    )
    service = Service(
        model=model_of(graph),
        answer=answer,
        ready=lambda: edge.whole or edge.controller.connected,
        seen=view.answered,
    )
    add_routes(app, service)
    return app
