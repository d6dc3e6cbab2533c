"""An edge that is asked over HTTP."""

import json
import urllib.error
import urllib.request

import pytest
import torch
from tests.unit.partition.live.nets import controller, made, served
from tests.unit.partition.live.test_edge import images

pytest.importorskip("fastapi")

from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.http import cloud_app, edge_app
from trimtab.runtime.web import Server


def asked(url, x, **field):
    body = {
        "inputs": [
            {"name": "x", "shape": list(x.shape), "datatype": "FP32",
             "data": x.reshape(-1).tolist(), **field}
        ]
    }  # fmt: skip
    request = urllib.request.Request(
        f"{url}/v2/models/net/infer", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def test_answers_are_those_of_the_network_and_the_page_counts_them():
    net, halves = made()
    with served(halves) as cloud:
        address = Address(host="127.0.0.1", port=cloud.port)
        with Edge(halves, controller(halves), cloud=address) as edge:
            app = edge_app(edge, shown=True)
            with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
                for x in images(6):
                    status, found = asked(server.url, x)
                    assert status == 200
                    (output,) = found["outputs"]
                    assert output["name"] == "output"
                    assert torch.equal(
                        torch.tensor(output["data"]).reshape(output["shape"]), net(x)
                    )
                status, found = asked(server.url, images(1)[0], datatype="FP16")
                assert (status, found["field"]) == (422, "inputs.0.datatype")
                assert edge.state()["answers"] == 6
                assert b"trimtab edge: net" in get(server.url)


def test_an_edge_that_needs_its_cloud_says_503_without_it():
    _, halves = made()
    with Edge(halves, controller(halves), whole=False) as edge:
        app = edge_app(edge)
        with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
            edge.controller.connected = True
            status, found = asked(server.url, images(1)[0])
            assert status == 503
            assert "cloud is needed" in found["error"]
            edge.controller.connected = False
            with pytest.raises(urllib.error.HTTPError, match="503") as caught:
                get(f"{server.url}/v2/health/ready")
            caught.value.close()


def test_a_cloud_shows_a_page_and_answers_no_inference():
    _, halves = made()
    with served(halves) as cloud:
        app = cloud_app(cloud.cloud, shown=True)
        with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
            assert b"trimtab cloud: net" in get(server.url)
            assert b"trimtab_cloud_answers_total" in get(f"{server.url}/metrics")
            assert asked(server.url, images(1)[0])[0] == 404
