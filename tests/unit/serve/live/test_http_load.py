"""What is asked over HTTP; a whole run stands in test_http.py."""

import contextlib
import json
import socket
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from trimtab.errors import DataError, LinkError, MissingExtraError, UsageError
from trimtab.runtime import certs
from trimtab.runtime.tokens import Token
from trimtab.runtime.web import Server
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


class Raw:
    """A server of one answer, which comes in parts."""

    def __init__(self, head, *parts):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/v2/models/net"
        self.said, self.asked = (head, *parts), b""
        self.thread = threading.Thread(target=self.answer)

    def answer(self):
        made, _ = self.socket.accept()
        with made, contextlib.suppress(ConnectionError):
            self.asked = made.recv(65536)
            for part in self.said:
                made.sendall(part)
                time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.socket.close()


def answered(body):
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)


def test_metadata_come_in_parts_and_the_token_goes_with_the_question():
    body = json.dumps({"inputs": [IDS]}).encode()
    token = Token("correct-horse-battery", where="a test")
    with (
        Raw(answered(body), body[:20], body[20:]) as server,
        Served(server.url, token=token) as subject,
    ):
        assert subject.most_items == 1024
    assert b"Authorization: Bearer correct-horse-battery\r\n" in server.asked


def test_metadata_have_an_end():
    body = b" " * (2**20 + 1)
    with (
        Raw(answered(body), body) as server,
        pytest.raises(DataError, match="more than 1048576"),
        Served(server.url),
    ):
        pass


def test_an_answer_has_an_end(monkeypatch):
    monkeypatch.setattr(http_load, "_MOST_ANSWER", 100)
    body, told = json.dumps({"inputs": [IDS]}).encode(), []
    ended = threading.Event()

    def done(error):
        told.append(error)
        ended.set()

    with (
        Raw(answered(body), body, answered(b" " * 200), b" " * 200) as server,
        Served(server.url) as subject,
    ):
        subject.send(subject.prepare(2, 0), 0, done)
        assert ended.wait(30.0)
    assert "more than 100 bytes" in str(told[0])


def test_a_token_does_not_follow_a_redirect():
    with Raw(b"") as other:
        moved = f"HTTP/1.1 302 Found\r\nlocation: {other.url}\r\n".encode()
        with (
            Raw(moved + b"content-length: 0\r\n\r\n") as server,
            pytest.raises(DataError, match="status 302"),
            Served(server.url, token=Token("correct-horse-battery", where="a test")),
        ):
            pass
        socket.create_connection(other.socket.getsockname()).close()
    assert other.asked == b""


def test_without_its_token_a_server_is_not_asked():
    with (
        Raw(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n") as server,
        pytest.raises(UsageError, match="--token-file"),
        Served(server.url),
    ):
        pass


def test_a_server_with_certificates_of_ones_own_is_asked_by_its_name(tmp_path):
    certs.make(tmp_path, ["edge", "load"])

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            for each in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{each}.complete"})
            return
        body = json.dumps({"models": ["net"], "inputs": [IDS]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    tls = certs.client(tmp_path, "load")
    with Server(app, "127.0.0.1", 0, tls=certs.server(tmp_path, "edge")) as server:
        with Served(server.url, tls=tls, server_name="edge") as subject:
            assert subject.name == "net"
        for wrong in ({}, {"tls": tls}, {"tls": tls, "server_name": "another"}):
            more: dict[str, Any] = wrong
            with pytest.raises(LinkError), Served(server.url, **more):
                pass
