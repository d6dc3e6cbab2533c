"""The server in a thread: who it answers, and how it ends."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
from typing import Any

import pytest
from tests.unit.runtime.asgi import ask

from trimtab.errors import UsageError

pytest.importorskip("uvicorn")

from trimtab.runtime.tokens import Token
from trimtab.runtime.web import Guard, Server, is_loopback

TOKEN = Token("correct-horse-battery", where="a test")


class Application:
    """Says hello; at /slow only when it is let."""

    def __init__(self):
        self.let = threading.Event()
        self.asked = threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"].endswith("shutdown"):
                    return
        if scope["path"] == "/slow":
            self.asked.set()
            while not self.let.is_set():
                await asyncio.sleep(0.01)
        own = [(b"content-security-policy", b"default-src 'self'")]
        headers = own if scope["path"] == "/own" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})


def get(url, path="/", **headers):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers=headers)
    found = connection.getresponse()
    body = found.read()
    connection.close()
    return found, body


def test_it_answers_with_headers_that_browsers_keep_to():
    with Server(Application(), "127.0.0.1", 0) as server:
        found, body = get(server.url)
    assert body == b"hello"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in found.headers["Content-Security-Policy"]
    assert found.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in found.headers
    assert "Server" not in found.headers


def test_a_header_of_the_application_stands():
    found = ask(Guard(Application(), here=True), "GET", "/own")
    assert found.headers["content-security-policy"] == "default-src 'self'"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("[::2]", 421),
        ("", 421),
    ],
)
def test_on_loopback_only_this_machine_is_named(host, status):
    headers = {"host": host}.items()
    found = ask(Guard(Application(), here=True), "GET", "/", headers=headers)
    assert found.status == status
    if status != 200:
        assert "localhost" in json.loads(found.body)["error"]
    elsewhere = Guard(Application(), here=False)
    assert ask(elsewhere, "GET", "/", headers=headers).status == 200


def test_what_was_accepted_is_answered_before_it_ends():
    application, found = Application(), []
    server = Server(application, "127.0.0.1", 0, stopping=application.let.set)
    with server:
        asked = threading.Thread(target=lambda: found.append(get(server.url, "/slow")))
        asked.start()
        assert application.asked.wait(5)
    asked.join(5)
    assert found[0][1] == b"hello"
    with pytest.raises(OSError):
        get(server.url)


@pytest.mark.parametrize(
    "path",
    ["/", "/metrics", "/openapi.json", "/v2/health/live", "/healthz/", "//healthz"],
)
def test_with_a_token_all_but_health_is_for_who_has_it(path):
    guard = Guard(Application(), here=True, token=TOKEN)
    found = ask(guard, "GET", path)
    assert found.status == 401
    assert "Basic realm" in found.headers["www-authenticate"]  # the last of both
    assert found.headers["content-length"] == str(len(found.body))
    assert "token" in json.loads(found.body)["error"]
    wrong = {"authorization": "Bearer correct-horse-batterz"}.items()
    assert ask(guard, "GET", path, headers=wrong).status == 401
    right = {"authorization": TOKEN.header}.items()
    assert ask(guard, "GET", path, headers=right).status == 200
    assert ask(guard, "GET", "/healthz").status == 200


def test_a_token_twice_is_none():
    guard = Guard(Application(), here=False, token=TOKEN)
    one = (b"authorization", TOKEN.header.encode())
    sent: list[Any] = []

    async def run(headers):
        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.disconnect"}

        await guard({"type": "http", "path": "/", "headers": headers}, receive, send)
        return sent.pop(0)["status"]

    assert asyncio.run(run([one])) == 200
    sent.clear()
    assert asyncio.run(run([one, one])) == 401


def test_a_token_goes_over_the_wire_as_a_challenge_of_two_schemes():
    with Server(Application(), "127.0.0.1", 0, token=TOKEN) as server:
        found, _ = get(server.url)
        assert found.status == 401
        schemes = [
            each.split()[0] for each in found.headers.get_all("WWW-Authenticate")
        ]
        assert schemes == ["Bearer", "Basic"]
        assert get(server.url, Authorization=TOKEN.header)[1] == b"hello"
        assert get(server.url, "/healthz")[1] == b"hello"


def test_answers_do_not_wait_for_more():
    with Server(Application(), "127.0.0.1", 0) as server:
        assert server._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_its_loop_is_the_fast_one():
    uvloop = pytest.importorskip("uvloop", reason="the extra serve: no uvloop")
    with Server(Application(), "127.0.0.1", 0) as server:
        assert isinstance(server._loop, uvloop.Loop)


def test_an_address_that_is_taken_is_one_message():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match=r"listening on 127\.0\.0\.1"),
    ):
        Server(Application(), "127.0.0.1", taken.getsockname()[1])


def test_the_address_has_brackets_for_ipv6():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        server = Server(Application(), "::1", 0)
    except UsageError:
        pytest.skip("no IPv6 loopback on this machine")
    with server:
        assert server.url.startswith("http://[::1]:")


def test_with_tls_whoever_has_no_certificate_is_not_answered(tmp_path):
    pytest.importorskip("cryptography")
    from trimtab.runtime import certs

    certs.make(tmp_path, ["edge", "reader"], hosts=["127.0.0.1"])
    context = certs.server(tmp_path, "edge")
    with Server(Application(), "127.0.0.1", 0, tls=context) as server:
        assert server.url.startswith("https://")
        address = server.url.removeprefix("https://")

        def read(context):
            made = http.client.HTTPSConnection(address, context=context, timeout=5)
            with contextlib.closing(made) as connection:
                connection.request("GET", "/")
                return connection.getresponse().read()

        assert read(certs.client(tmp_path, "reader")) == b"hello"
        stranger = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises(OSError):
            read(stranger)


def test_what_is_loopback():
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
