"""The protocol over HTTP: every status, and never a 500."""

import asyncio
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.asgi import answer, ask, scope

from trimtab.errors import ExecutionError, LinkError, OverloadedError
from trimtab.graph.types import TensorType
from trimtab.runtime.signature import Model, Port

pytest.importorskip("fastapi")

from fastapi import FastAPI

from trimtab.runtime.inference_routes import Limits, Service, add_routes

PORT = Port(name="x", type=TensorType((3,), "float32"))
MODEL = Model(
    name="team/net", inputs=(PORT,),
    outputs=(Port(name="output", type=TensorType((3,), "float32")),),
)  # fmt: skip
INPUT: dict[str, Any] = {
    "name": "x", "shape": [3], "datatype": "FP32", "data": [1, 2, 3],
}  # fmt: skip
RIGHT = {"id": "a", "inputs": [INPUT]}
INFER = "/v2/models/team/net/infer"
JSON = {"Content-Type": "application/json; charset=utf-8"}


async def doubled(asked):
    return {"output": 2 * asked.values["x"]}


def made(reply=doubled, ready=lambda: True, **limits):
    app, seen = FastAPI(), []
    service = Service(
        model=MODEL, answer=reply, ready=ready, limits=Limits(**limits),
        seen=lambda took_s, status: seen.append(status),
    )  # fmt: skip
    add_routes(app, service)
    app.state.seen = seen
    return app


def post(app, body, headers=JSON, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app, "POST", INFER, content, headers.items(), **more)


def test_a_right_request_is_answered():
    app = made()
    found = post(app, RIGHT)
    assert found.status == 200
    assert found.json == {
        "model_name": "team/net",
        "id": "a",
        "outputs": [
            {"name": "output", "datatype": "FP32", "shape": [3], "data": [2, 4, 6]}
        ],
    }
    assert app.state.seen == [200]


def test_bytes_are_answered_with_bytes():
    head = json.dumps({
        "inputs": [{"name": "x", "shape": [3], "datatype": "FP32",
                    "parameters": {"binary_data_size": 12}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    values = torch.tensor([1.0, 2.0, 3.0])
    found = post(
        made(),
        head + values.numpy().tobytes(),
        {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        },
    )
    assert found.status == 200
    size = int(found.headers["inference-header-content-length"])
    assert json.loads(found.body[:size])["outputs"][0]["parameters"] == {
        "binary_data_size": 12
    }
    assert found.body[size:] == (2 * values).numpy().tobytes()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/team/net/ready", {"name": "team/net", "ready": True}),
        ("/v2/models/team/net", MODEL.record()),
    ],
)
def test_what_it_says_of_itself(path, found):
    assert ask(made(), "GET", path).json == found


def test_the_server_names_its_extension():
    assert ask(made(), "GET", "/v2").json["extensions"] == ["binary_tensor_data"]


def test_what_cannot_answer_is_not_ready():
    app = made(ready=lambda: False)
    for path in ("/v2/health/ready", "/v2/models/team/net/ready"):
        assert ask(app, "GET", path).status == 503
    assert ask(app, "GET", "/v2/health/live").status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"{", JSON, 400, "body"),
        (RIGHT, {}, 415, "Content-Type"),
        (RIGHT, {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (RIGHT, {**JSON, "Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (RIGHT, {**JSON, "Content-Length": str(10**12)}, 413, "body"),
        (b" " * 10**5, JSON, 413, "body"),
        (RIGHT, {**JSON, "Inference-Header-Content-Length": "-1"}, 400,
         "Inference-Header-Content-Length"),
        (RIGHT, {**JSON, "Inference-Header-Content-Length": "\xb2"}, 400,
         "Inference-Header-Content-Length"),
        (RIGHT, {**JSON, "Inference-Header-Content-Length": "9" * 5000}, 400,
         "Inference-Header-Content-Length"),
        ({"inputs": []}, JSON, 422, "inputs"),
        ({"inputs": [{**INPUT, "shape": [2]}]}, JSON, 422,
         "inputs.0.shape"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_status_and_a_field(body, headers, status, field):
    app = made()
    found = post(app, body, headers)
    assert (found.status, found.json["field"]) == (status, field)
    assert app.state.seen == [status]


def test_a_body_that_comes_at_a_rate_may_take_longer():
    app = made(body_s=0.05)
    chunks = [b" " * 50_000, 0.1, json.dumps(RIGHT).encode()]
    assert post(app, b"", chunks=chunks).status == 200


def test_a_body_that_does_not_come_or_ends_is_refused():
    app = made(body_s=0.05)
    assert post(app, b"", chunks=[b"{", None]).status == 408
    assert post(app, b"", chunks=[b"{", False]).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/\udcff/infer", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", INFER.replace("/infer", "/nothing"), 404),
        ("GET", "/v3", 404),
        ("DELETE", "/v2", 405),
    ],
)
def test_what_is_not_there_says_so(method, path, status):
    sent = scope(method, path.encode("utf-8", "replace").decode(), JSON.items())
    sent["path"] = path
    gathered = []

    async def receive():
        return {"type": "http.request", "body": b"{}"}

    async def send(message):
        gathered.append(message)

    asyncio.run(made()(sent, receive, send))
    found = answer(gathered)
    assert found.status == status
    assert found.json["error"]


@pytest.mark.parametrize(
    ("error", "status", "wait"),
    [
        (LinkError("a request", rule="away", remedy="wait"), 503, "1"),
        (OverloadedError("a request", remedy="wait", retry_after_s=2.3), 429, "3"),
        (ExecutionError("an index", rule="out of range", remedy="x"), 422, None),
    ],
)
def test_what_nobody_answers_says_when_to_come_again(error, status, wait):
    async def raised(asked):
        raise error

    found = post(made(raised), RIGHT)
    assert found.status == status
    assert found.headers.get("retry-after") == wait
    assert str(error) in found.json["error"]


def test_more_at_once_than_it_takes_are_told_to_come_again():
    async def run():
        gate = asyncio.Event()

        async def slow(asked):
            await gate.wait()
            return {"output": asked.values["x"]}

        app = made(slow, requests=2)
        body = json.dumps(RIGHT).encode()

        async def one():
            sent = []

            async def receive():
                return {"type": "http.request", "body": body}

            async def send(message):
                sent.append(message)

            await app(scope("POST", INFER, JSON.items()), receive, send)
            return answer(sent)

        tasks = [asyncio.create_task(one()) for _ in range(2)]
        await asyncio.sleep(0.01)
        third = await one()
        gate.set()
        return third, [await each for each in tasks], await one()

    third, first, later = asyncio.run(run())
    assert third.status == 429
    assert third.headers["retry-after"] == "1"
    assert [each.status for each in first] == [200, 200]
    assert later.status == 200


def test_bodies_that_are_held_have_a_limit_together():
    async def run():
        gate = asyncio.Event()

        async def slow(asked):
            await gate.wait()
            return {"output": asked.values["x"]}

        room = MODEL.most_bytes
        app = made(slow, body_bytes=1)  # one of the largest is taken in any case
        half = json.dumps({**RIGHT, "id": "a" * 9}).encode().ljust(room * 2 // 3)

        async def one():
            sent = []

            async def receive():
                return {"type": "http.request", "body": half}

            async def send(message):
                sent.append(message)

            await app(scope("POST", INFER, JSON.items()), receive, send)
            return answer(sent)

        first = asyncio.create_task(one())
        await asyncio.sleep(0.01)
        second = await one()
        gate.set()
        return (await first).status, second, (await one()).status

    first, second, later = asyncio.run(run())
    assert (first, later) == (200, 200)
    assert second.status == 429
    assert f"holds {MODEL.most_bytes} bytes" in second.json["error"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(st.text(max_size=4), each, max_size=2)
    ),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_body_is_a_fault_of_the_server(data):
    body: dict[str, Any] = {"inputs": [dict(INPUT)]}
    for _ in range(data.draw(st.integers(0, 3))):
        where = data.draw(st.sampled_from([body, body["inputs"][0]]))
        where[data.draw(st.sampled_from([*where, "outputs", "parameters", "odd"]))] = (
            data.draw(VALUES)
        )
        if not (isinstance(body.get("inputs"), list) and body["inputs"]
                and isinstance(body["inputs"][0], dict)):  # fmt: skip
            break
    content = json.dumps(body).encode() + data.draw(st.binary(max_size=13))
    headers = dict(JSON)
    if data.draw(st.booleans()):
        size = data.draw(st.integers(0, len(content) + 3) | st.text(max_size=3))
        text = str(size).encode("latin-1", "replace").decode("latin-1")
        headers["Inference-Header-Content-Length"] = text
    found = post(made(), content, headers)
    assert found.status < 500
    assert found.status == 200 or (found.json["error"] and found.json["field"])


def test_the_interface_is_described():
    described = ask(made(), "GET", "/openapi.json").json
    operation = described["paths"]["/v2/models/{name}/infer"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    tensor = schema["properties"]["inputs"]["items"]
    assert tensor["properties"]["name"]["enum"] == ["x"]
    assert {"422", "429", "503"} <= set(operation["responses"])
