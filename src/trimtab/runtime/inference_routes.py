"""The Open Inference Protocol over HTTP: routes of one model, whoever answers for it.

How a request ends is one of these: answered; 400, what came is no request; 404, another
model; 408, it came too slowly; 413, it is too large; 415, of another type than the
protocol has; 422, a field is wrong, and named; 429, no room now; 503, nobody can answer
now. The last two say when to ask again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from fastapi import FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from torch import Tensor

from trimtab._version import __version__
from trimtab.errors import (
    DataError,
    ExecutionError,
    LinkError,
    OverloadedError,
    TrimtabError,
    UsageError,
)
from trimtab.runtime.connection import BODY_BYTES_PER_S
from trimtab.runtime.inference import Asked, parse, render
from trimtab.runtime.signature import DATATYPES, Model

__all__ = ["Limits", "Service", "add_routes"]

_HEADER: Final = "Inference-Header-Content-Length"
_STATUSES: Final = {
    "400": "no request", "404": "another model", "408": "too slow", "413": "too large",
    "415": "of another type", "422": "a field is wrong", "429": "no room now",
    "503": "nobody can answer now",
}  # fmt: skip
_ERROR: Final[dict[str, Any]] = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}, "field": {"type": "string"}},
        }
    }
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": _STATUSES["404"], "content": _ERROR}
}
_TYPES: Final = ("application/json", "application/octet-stream")
# Others a page of a browser sends to any server without being asked whether it may.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process takes.

    Attributes:
        requests: at once; further ones are told to come again.
        body_bytes: of all bodies that are not answered yet, likewise; one of the
            largest is taken in any case.
        body_s: that a body may take to come, and what its bytes take at the least
            rate that a connection may have.
        retry_s: after which one that found no room or no answer may come again.
    """

    requests: int = 64
    body_bytes: int = 256 * 2**20
    body_s: float = 30.0
    retry_s: float = 1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Who answers.

    Attributes:
        model: that is asked.
        answer: gives outputs by name for what was asked; raises what `add_routes` has
            a status for.
        ready: whether it can now.
        seen: told seconds and status of every request for an inference.
        limits: what it takes.
    """

    model: Model
    answer: Callable[[Asked], Awaitable[Mapping[str, Tensor]]]
    ready: Callable[[], bool]
    seen: Callable[[float, int], None] = lambda took_s, status: None
    limits: Limits = Limits()


def add_routes(app: FastAPI, service: Service) -> None:
    """Add the routes of the protocol to an application.

    Args:
        app: gets ``/v2`` and what is below it.
        service: who answers.
    """
    model, limits = service.model, service.limits
    open_requests = 0
    # Others are told that there is no such model: who reads the description knows it.
    named: Any = Path(json_schema_extra={"enum": [model.name]})
    held = _Held(max(limits.body_bytes, model.most_bytes))

    @app.get("/v2", summary="What this server is")
    async def server() -> dict[str, Any]:
        extensions = ["binary_tensor_data"]
        return {
            "name": "trimtab",
            "version": __version__,
            "extensions": extensions,
            "models": [model.name],  # beside the protocol: or who asks has to know it
        }

    @app.get("/v2/health/live", summary="Whether it is there")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", summary="Whether it can answer")
    async def ready() -> Response:
        return _ready("ready", service.ready())

    @app.get(
        "/v2/models/{name:path}/ready",
        summary="Whether the model can answer",
        responses=_UNKNOWN,
    )
    async def model_ready(name: str = named) -> Response:
        return _unknown(name, model) or _ready("ready", service.ready(), name=name)

    @app.get(
        "/v2/models/{name:path}",
        summary="What the model takes and returns",
        responses=_UNKNOWN,
    )
    async def metadata(name: str = named) -> Response:
        return _unknown(name, model) or JSONResponse(model.record())

    @app.post(
        "/v2/models/{name:path}/infer",
        summary="Ask the model",
        openapi_extra=_described(model),
    )
    async def infer(request: Request, name: str = named) -> Response:
        nonlocal open_requests
        begun = time.monotonic()
        open_requests += 1
        try:
            response = _unknown(name, model) or _refused(request, model)
            if response is None:
                if open_requests > limits.requests:
                    raise _full(f"{limits.requests} are not answered yet", limits)
                response = await _answered(request, service, held)
        except TrimtabError as error:
            response = _failed(error, limits)
        finally:
            open_requests -= 1
        service.seen(time.monotonic() - begun, response.status_code)
        return response

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        del request
        found = {"error": str(error.detail)}
        return JSONResponse(found, error.status_code, headers=error.headers)


@final
@dataclass(slots=True)
class _Held:
    """Bytes of bodies that are not answered yet."""

    most: int
    now: int = 0


async def _answered(request: Request, service: Service, held: _Held) -> Response:
    body, taken = bytearray(), 0
    try:
        try:
            wrong = await _read(request, body, service, held)
        finally:
            taken = len(body)
        if wrong is not None:
            return wrong
        asked = parse(service.model, body, header_bytes=_header_bytes(request))
        del body  # the tensors have what it said; the answer may take long
        outputs = await service.answer(asked)
    finally:
        held.now -= taken
    content, head = render(service.model, asked, outputs)
    if head is None:
        return Response(content, media_type=_TYPES[0])
    return Response(content, media_type=_TYPES[1], headers={_HEADER: str(head)})


async def _read(
    request: Request, body: bytearray, service: Service, held: _Held
) -> Response | None:
    """Read a body; return what is wrong with it."""
    try:
        loop, most_s = asyncio.get_running_loop(), service.limits.body_s
        begun_s = loop.time()
        async with asyncio.timeout(most_s) as patience:
            async for chunk in request.stream():
                body += chunk
                more_s = len(body) / BODY_BYTES_PER_S
                patience.reschedule(begun_s + most_s + more_s)
                held.now += len(chunk)
                if len(body) > service.model.most_bytes:
                    return _too_large(service.model)
                if held.now > held.most:
                    rule = f"it holds {held.most} bytes of them already"
                    raise _full(rule, service.limits)
    except TimeoutError:
        return _error(408, "the body came too slowly", "body")
    except ClientDisconnect:
        return _error(400, "the body ended too early", "body")
    return None


def _refused(request: Request, model: Model) -> Response | None:
    """Return what is wrong with a request before its body is read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        return _error(415, f"give one of {', '.join(_TYPES)}", "Content-Type")
    if request.headers.get("content-encoding", "identity") != "identity":
        return _error(415, "bodies are sent as they are", "Content-Encoding")
    size = request.headers.get("content-length", "")
    if size.isdecimal() and int(size[:20]) > model.most_bytes:
        return _too_large(model)
    return None


def _header_bytes(request: Request) -> int | None:
    said = request.headers.get(_HEADER)
    if said is None:
        return None
    if not (said.isascii() and said.isdecimal() and len(said) < 20):
        raise DataError(
            f"a header {said[:40]!r}", rule="it is a number of bytes", where=_HEADER,
            remedy="give the bytes of the JSON that the body begins with",
        )  # fmt: skip
    return int(said)


def _failed(error: TrimtabError, limits: Limits) -> Response:
    if isinstance(error, LinkError):
        wait = limits.retry_s
        if isinstance(error, OverloadedError):
            wait = error.retry_after_s
        status = 429 if isinstance(error, OverloadedError) else 503
        again = {"Retry-After": str(max(1, math.ceil(wait)))}
        return _error(status, str(error), error.where, again)
    if isinstance(error, DataError):
        return _error(400, str(error), error.where)
    if isinstance(error, UsageError | ExecutionError):
        return _error(422, str(error), error.where)
    raise error


def _full(rule: str, limits: Limits) -> OverloadedError:
    return OverloadedError(
        "a request",
        rule=rule,
        where="this server",
        remedy="come again later",
        retry_after_s=limits.retry_s,
    )


def _ready(word: str, found: bool, **more: str) -> Response:
    return JSONResponse({**more, word: found}, 200 if found else 503)


def _unknown(name: str, model: Model) -> Response | None:
    if name == model.name:
        return None
    return _error(404, f"there is no model {name[:80]!r}: ask {model.name!r}", "model")


def _too_large(model: Model) -> Response:
    return _error(413, f"a request has {model.most_bytes} bytes at most", "body")


def _error(
    status: int, text: str, where: str, headers: dict[str, str] | None = None
) -> Response:
    # Surrogates, which a request may have, are no UTF-8.
    clean = {"error": text, "field": where}
    return JSONResponse(
        {key: each.encode("utf-8", "replace").decode() for key, each in clean.items()},
        status,
        headers=headers,
    )


def _described(model: Model) -> dict[str, Any]:
    """Return what the interface's description says of a request."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "enum": [port.name for port in model.inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "datatype": {"type": "string", "enum": list(DATATYPES.values())},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
        "additionalProperties": False,
    }
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
        "additionalProperties": False,
    }
    answer = {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string", "enum": [model.name]},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"type": "object"}},
        },
    }
    responses: dict[str, Any] = {
        "200": {
            "description": "what was asked for",
            "content": {_TYPES[0]: {"schema": answer}, _TYPES[1]: {}},
        }
    }
    for status, text in _STATUSES.items():
        responses[status] = {"description": text, "content": _ERROR}
        if status in ("429", "503"):
            again = {"schema": {"type": "integer", "minimum": 1}}
            responses[status]["headers"] = {"Retry-After": again}
    return {
        "requestBody": {"required": True, "content": {_TYPES[0]: {"schema": body}}},
        "responses": responses,
    }
