"""What is asked over HTTP; a whole run stands in test_http.py."""

import json
import sys

import numpy as np
import pytest

from trimtab.errors import DataError, LinkError, MissingExtraError, UsageError
from trimtab.serve.live import http_load
from trimtab.serve.live.http_load import Served, fields_of

pytest.importorskip("aiohttp")

IDS = {"name": "ids", "datatype": "INT64", "shape": [-1, 3]}


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"inputs": []},
        {"inputs": [{**IDS, "shape": [1, 3]}]},
        {"inputs": [{**IDS, "shape": [-1, -3]}]},
        {"inputs": [{**IDS, "shape": [-1, 2**60]}]},
        {"inputs": [{**IDS, "datatype": "BYTES"}]},
        {"inputs": [{**IDS, "parameters": {"bounds": ["a"]}}]},
        {"inputs": [IDS], "parameters": {"most_items": 10**9}},
    ],
)
def test_metadata_that_cannot_be_asked_for_are_refused(metadata):
    with pytest.raises(DataError, match="metadata of a model"):
        fields_of(metadata)


def test_bodies_are_bytes_behind_their_description():
    subject = Served("http://127.0.0.1:1")
    from trimtab.serve.live.load import Drawn

    fields, most = fields_of({"inputs": [IDS]})
    assert most == 1024
    subject._drawn = Drawn(fields, most_items=8)
    body, head = subject.prepare(4, 0)
    said = json.loads(body[:head])["inputs"][0]
    assert said["shape"] == [4, 3]
    assert said["parameters"]["binary_data_size"] == 96
    assert np.frombuffer(body[head:], np.int64).tolist() == [0] * 12  # no bounds
    subject._loop.close()


def test_nobody_there_and_no_address():
    with pytest.raises(LinkError, match="Start it"), Served("http://127.0.0.1:1"):
        pass
    with pytest.raises(UsageError, match="asked over HTTP"):
        Served("localhost:8080")


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(MissingExtraError, match="aiohttp is not installed"):
        Served("http://127.0.0.1:1")


def test_idle_connections_are_closed_before_a_server_does():
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve: no uvicorn")
    assert uvicorn.Config(None).timeout_keep_alive > http_load._IDLE_S
