"""FastAPI and PyTorch, as tutorials have it: a handler that calls the module.

Several processes share the port, each with a module of its own (uvicorn's workers);
the handler calls it in the event loop, or in the pool of threads that FastAPI has for
handlers that block. uvloop and httptools, no log of requests.

    python -m benchmarks.serve.peers.fastapi_torch '{"spec": "zoo:wnd-small",
        "name": "wnd-small", "port": 8000, "options": {"workers": 2, "pool": 0}}'
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import anyio.to_thread
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from benchmarks.serve.peers.network import (
    HEADER,
    TYPE,
    Command,
    Network,
    announce,
    command,
)

__all__ = ["application", "main"]

_TOLD: Final = "TRIMTAB_BENCH_PEER"  # how uvicorn's workers learn what to do


def application() -> FastAPI:
    """Return the application of one worker."""
    told = Command(**json.loads(os.environ[_TOLD]))
    pool = int(told.options.get("pool", 0))
    network = Network(told.spec, told.weights, int(told.options.get("threads", 1)))

    @asynccontextmanager
    async def begun(app: FastAPI) -> AsyncIterator[None]:
        del app
        if pool:
            anyio.to_thread.current_default_thread_limiter().total_tokens = pool
        announce(told.port)
        yield

    app = FastAPI(lifespan=begun)

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"models": [told.name]}

    @app.get(f"/v2/models/{told.name}")
    async def metadata() -> dict[str, Any]:
        return network.model.record()

    @app.post(f"/v2/models/{told.name}/infer")
    async def infer(request: Request) -> Response:
        payload = await request.body(), request.headers.get(HEADER)
        if pool:
            content, headers = await run_in_threadpool(network.answer, payload)
        else:
            content, headers = network.answer(payload)
        return Response(content, media_type=TYPE, headers=headers)

    return app


def main() -> None:
    """Serve until told to end."""
    told = command()
    os.environ[_TOLD] = json.dumps(asdict(told))
    uvicorn.run(
        f"{__spec__.name}:application", factory=True,
        host="127.0.0.1", port=told.port, workers=int(told.options.get("workers", 1)),
        loop="uvloop", http="httptools", log_level="warning", access_log=False,
        timeout_worker_healthcheck=120,  # to import PyTorch takes a busy machine long
    )  # fmt: skip


if __name__ == "__main__":
    main()
