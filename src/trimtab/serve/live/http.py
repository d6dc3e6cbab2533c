"""A server over HTTP: the Open Inference Protocol, numbers to scrape, and a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from fastapi import FastAPI
from torch import Tensor

from trimtab.graph.types import TensorType
from trimtab.runtime.dashboard.app import create
from trimtab.runtime.inference import Asked
from trimtab.runtime.inference_routes import Limits, Service, add_routes
from trimtab.runtime.signature import Model, Port
from trimtab.serve.live.arena import Field
from trimtab.serve.live.engine import Settings
from trimtab.serve.live.steering import Steering
from trimtab.serve.live.view import View
from trimtab.serve.schedule import DEFAULT_PRIORITY

__all__ = ["model_of", "priority_of", "serve_app"]

_REQUESTS: Final = 900  # at once: the server takes a thousand connections


class Serves(Protocol):
    """An engine, or several hosts that are asked as one."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[Field, ...]: ...
    @property
    def outputs(self) -> tuple[Field, ...]: ...
    @property
    def settings(self) -> Settings: ...


def model_of(engine: Serves) -> Model:
    """Return what an engine takes and gives: any number of items up to its limit."""
    return Model(
        name=engine.name,
        inputs=tuple(map(_port, engine.inputs)),
        outputs=tuple(map(_port, engine.outputs)),
        most_items=engine.settings.most_items,
    )


def _port(each: Field) -> Port:
    kind = TensorType((1, *each.shape), each.dtype)
    return Port(name=each.name, type=kind, bounds=each.bounds)


def priority_of(asked: Asked) -> int:
    """Return the engine's priority, from 0, of a request's: from 1, or 0 for none."""
    return asked.priority - 1 if asked.priority else DEFAULT_PRIORITY


def serve_app(side: Steering, why: str, *, shown: bool = False) -> FastAPI:
    """Return a server that is asked by the Open Inference Protocol.

    A ``priority`` of 1, 2 or 3 in a request goes before larger ones, 2 is the default;
    a request that would miss its ``timeout`` is refused.

    Args:
        side: that was started.
        why: of its first schedule: a sentence.
        shown: whether there is a live page, too.
    """
    engine, view = side.engine, View(side, why)

    async def answer(asked: Asked) -> Mapping[str, Tensor]:
        found = await side.answered(
            {name: each.numpy() for name, each in asked.values.items()},
            deadline_s=asked.timeout_s,
            priority=priority_of(asked),
        )
        if found.error is not None:
            raise found.error
        assert found.outputs is not None
        return {name: torch.from_numpy(each) for name, each in found.outputs.items()}

    app = create(
        f"trimtab serve: {engine.name}", view.state, prefix="trimtab_serve", shown=shown
    )
    service = Service(
        model=model_of(engine),
        answer=answer,
        ready=lambda: engine.state()["workers"] > 0,
        seen=view.answered,
        limits=Limits(requests=_REQUESTS),
    )
    add_routes(app, service)
    return app
