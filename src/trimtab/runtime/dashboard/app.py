"""The application of a live page: ``/``, ``/events``, ``/state``, metrics, health.

It tells what it is told, to whoever may reach it, and takes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Response

from trimtab._version import __version__
from trimtab.runtime.dashboard.events import Broadcast, EventStream
from trimtab.runtime.dashboard.metrics import CONTENT_TYPE, text
from trimtab.runtime.dashboard.page import ASSETS, POLICY, asset, page
from trimtab.runtime.dashboard.state import State

__all__ = ["create"]

_VIEWERS: Final = 64
_ERROR: Final[dict[str, Any]] = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        }
    }
}
# Of `trimtab.runtime.web` and `trimtab.runtime.connection`, whatever is asked.
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "it is asked with a token", "content": _ERROR},
    421: {"description": "it is asked as localhost only", "content": _ERROR},
    431: {"description": "the head is too long", "content": _ERROR},
    503: {"description": "no room, or nobody answers", "content": _ERROR},
}


def create(
    title: str,
    source: Callable[[], State],
    *,
    prefix: str,
    every_s: float = 1.0,
    shown: bool = True,
) -> FastAPI:
    """Return the application; ``app.state.stop()`` ends its streams.

    Args:
        title: of the page.
        source: returns what it shows; called in the server's loop, once a period,
            however many look.
        prefix: of the names of metrics.
        every_s: a period.
        shown: whether there is a page; without, metrics and health are there still.
    """
    broadcast = Broadcast(source, every_s)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        asking = asyncio.create_task(broadcast.run())
        yield
        asking.cancel()

    app = FastAPI(
        title=title, version=__version__, docs_url=None, redoc_url=None,
        lifespan=lifespan, responses=_REFUSALS,
    )  # fmt: skip
    app.state.stop = broadcast.close

    @app.get("/healthz", summary="Whether the process is there")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE: {}}}},
    )
    async def metrics() -> Response:
        return Response(text(prefix, broadcast.state), media_type=CONTENT_TYPE)

    if not shown:
        return app
    content = page(title)

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        headers = {"Content-Security-Policy": POLICY}
        return Response(content, media_type="text/html", headers=headers)

    def serve(name: str, kind: str) -> None:
        text = asset(name)

        @app.get(f"/{name}", include_in_schema=False)
        async def part() -> Response:
            return Response(text, media_type=kind)

    for name, kind in ASSETS.items():
        serve(name, kind)

    @app.get("/state", summary="What the page shows")
    async def state() -> dict[str, Any]:
        return broadcast.state.record()

    @app.get(
        "/events",
        summary="What the page shows, as it changes",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def events() -> Response:
        if broadcast.viewers >= _VIEWERS or broadcast.closed:
            raise HTTPException(503, f"{_VIEWERS} look at it already")
        return EventStream(broadcast)

    return app
