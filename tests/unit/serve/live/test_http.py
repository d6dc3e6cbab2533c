"""A server over HTTP: the protocol, any number of items, refusals, its end."""

import concurrent.futures
import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from tests.unit.serve.live.test_engine import query, right, settings

pytest.importorskip("fastapi")

from trimtab.runtime.web import Server
from trimtab.serve.capacity import Target
from trimtab.serve.control import Controller
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.http import model_of, serve_app
from trimtab.serve.live.http_load import Served
from trimtab.serve.live.load import Drawn, InProcess, run
from trimtab.serve.live.referee import referee
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import Schedule
from trimtab.serve.verdict import judge, least_queries
from trimtab.serve.workload import Trace

TARGET = Target(latency_s=0.5)
CURVE = ServiceCurve(network="net", source="test", sizes=(1, 64), seconds=(1e-4, 1e-3))


@pytest.fixture(scope="module")
def served():
    with Engine(settings(workers=1), Schedule(batch=8)) as engine:
        controller = Controller(
            Host(curve=CURVE, workers=1), TARGET, engine.schedule, sizes=[4, 8]
        )
        with Steering(engine, controller, TARGET) as side:
            app = serve_app(side, "Batch 8, for a test.", shown=True)
            with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
                yield engine, server.url


def post(url, inputs, **parameters):
    body = {
        "parameters": parameters,
        "inputs": [
            {"name": name, "shape": list(each.shape), "data": each.ravel().tolist(),
             "datatype": {"float32": "FP32", "int64": "INT64"}[str(each.dtype)]}
            for name, each in inputs.items()
        ]
    }  # fmt: skip
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def outputs(said):
    return {
        each["name"]: np.array(each["data"], np.float32).reshape(each["shape"])
        for each in said["outputs"]
    }


def test_queries_of_any_size_are_answered_at_once(served):
    engine, url = served
    asked = [query(rows, seed=rows) for rows in (1, 8, 9, 100)]
    where = f"{url}{model_of(engine).path}"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda each: post(where, each), asked))
    for inputs, (status, said, _) in zip(asked, answers, strict=True):
        assert status == 200
        assert right(inputs, outputs(said))


def test_wrong_ids_name_their_field_and_hurt_nobody(served):
    engine, url = served
    where = f"{url}{model_of(engine).path}"
    inputs = query(3)
    inputs["ids"][1, 2] = 50
    status, said, _ = post(where, inputs)
    assert (status, said["field"]) == (422, "inputs.1.data")
    assert "50 at [1, 2]" in said["error"]
    assert "ids" in engine.inputs[1].name
    inputs = query(3)
    inputs["numbers"][0] = 999
    status, said, _ = post(where, inputs)
    assert status == 422
    assert "told to fail" in said["error"]
    assert post(where, query(3))[0] == 200


def test_one_that_would_be_late_is_told_when_to_come_again(served):
    engine, url = served
    before = engine.schedule
    where = f"{url}{model_of(engine).path}"
    seconds = engine._dispatcher._pool.seconds
    engine._dispatcher._pool.seconds = lambda rows: 10.0
    engine.schedule = Schedule(batch=8, shed=True)
    try:
        status, said, headers = post(where, query(3))
    finally:
        engine._dispatcher._pool.seconds = seconds
        engine.schedule = before
    assert status == 429
    assert "in time" in said["error"]
    assert int(headers["Retry-After"]) >= 10


def test_a_request_says_how_urgent_it_is(served, monkeypatch):
    engine, url = served
    where, seen = f"{url}{model_of(engine).path}", []
    ask = engine.ask

    def watched(inputs, done, **more):
        seen.append(more)
        ask(inputs, done, **more)

    monkeypatch.setattr(engine, "ask", watched)
    assert post(where, query(3))[0] == 200
    assert post(where, query(3), priority=1, timeout=20_000_000)[0] == 200
    assert post(where, query(3), priority=3)[0] == 200
    assert [each["priority"] for each in seen] == [1, 0, 2]
    assert seen[1]["deadline_s"] == pytest.approx(20.0)
    status, said, _ = post(where, query(3), timeout=1)
    assert status == 429
    assert "in time" in said["error"]
    assert post(where, query(3), priority=9)[0] == 422


def test_load_over_http_is_answered(served):
    engine, url = served
    trace = Trace(
        at_s=0.005 * np.arange(1, 61, dtype=np.float64),
        items=np.resize(np.array([1, 7, 30]), 60),
    )
    with Served(url) as subject:
        assert subject.name == engine.name
        assert subject.most_items == 1024
        report = judge(run(subject, trace))
    assert report.ends["answered"] == report.issued == 60


def test_loadgen_asks_in_shared_memory_and_over_http(served, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")
    engine, url = served
    target = Target(latency_s=60.0)
    drawn = Drawn(engine.inputs, most_items=engine.settings.most_items)
    with Served(url) as server:
        for subject in (InProcess(engine, drawn), server):
            before = engine.state()["answers"]
            found = referee(
                subject, [1, 7, 30], target, rate_per_s=200.0, seconds=1.0,
                folder=tmp_path,
            )  # fmt: skip
            assert found.valid, found.summary
            assert found.ends["answered"] >= least_queries(target)
            assert engine.state()["answers"] - before == found.ends["answered"]


def test_the_page_and_its_numbers(served):
    engine, url = served
    with urllib.request.urlopen(f"{url}/metrics") as response:
        text = response.read().decode()
    assert "trimtab_serve_target_seconds 0.5" in text
    assert "trimtab_serve_answers_total" in text
    until = time.monotonic() + 60.0
    shown = ""  # once a period, and the controller may change it in between
    while shown != f"Batch {engine.schedule.batch}":
        assert time.monotonic() < until, shown
        with urllib.request.urlopen(f"{url}/state") as response:
            state = json.load(response)
        shown = state["headline"]
    assert state["reasons"][0] == "Batch 8, for a test."
    with urllib.request.urlopen(f"{url}/healthz") as response:
        assert json.load(response) == {"status": "ok"}
    with urllib.request.urlopen(f"{url}/") as response:
        assert b"trimtab serve" in response.read()
