"""Connections on real sockets: who says too much, too slowly, or does not listen."""

import asyncio
import contextlib
import json
import socket
import time

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("httptools")

from trimtab.runtime import connection
from trimtab.runtime.web import Server

ASK = b"GET /a HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /a HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


class Application:
    """Reads a body and says how long it was; at /large it says a lot."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"].endswith("shutdown"):
                    return
        size, more = 0, scope["path"] != "/unread"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        said = b"x" * 10**8 if scope["path"] == "/large" else str(size).encode()
        length = (b"content-length", str(len(said)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": said})


@pytest.fixture
def address(monkeypatch):
    for name in ("HEAD_S", "REQUEST_S", "READ_S"):
        monkeypatch.setattr(connection, name, 0.3)
    monkeypatch.setattr(connection, "LOOK_S", 0.05)
    with Server(Application(), "127.0.0.1", 0) as server:
        yield server._socket.getsockname()
        until = time.monotonic() + 20  # whatever was done, nothing stays
        while server._server.server_state.connections and time.monotonic() < until:
            time.sleep(0.02)
        assert not server._server.server_state.connections


@contextlib.contextmanager
def connected(address):
    with socket.create_connection(address, timeout=20) as made:
        yield made


def rest(made):
    """Return what comes until the connection ends, however that is."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := made.recv(65536):
            found += part
    return found


def go_on(made, drop, *, pause_s=0.0):
    """Say the same over and over, until nobody takes it."""
    for _ in range(1_000):
        made.sendall(drop)
        time.sleep(pause_s)


def test_a_right_request_is_answered_many_times(address):
    with connected(address) as made:
        for size in (0, 5, 100_000):
            made.sendall(POST + b"content-length: %d\r\n\r\n" % size + b"x" * size)
            assert made.recv(65536).endswith(b"\r\n\r\n%d" % size)
        made.sendall(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
        assert made.recv(65536).endswith(b"\r\n\r\n50000")


def test_an_answer_may_take_longer_than_a_request(address):
    """A request that came is under no clock: only its answer's reader is."""
    with connected(address) as made:
        made.sendall(ASK + b"\r\n")
        assert made.recv(65536).endswith(b"\r\n\r\n0")
        time.sleep(0.6)
        made.sendall(ASK + b"\r\n")
        assert made.recv(65536).endswith(b"\r\n\r\n0")


def test_who_is_answered_early_may_finish_and_an_idle_one_is_ended():
    with Server(Application(), "127.0.0.1", 0) as server:
        server._server.config.timeout_keep_alive = 0  # seconds
        with connected(server._socket.getsockname()) as made:
            early = POST.replace(b"/a", b"/unread") + b"content-length: 10\r\n\r\n"
            made.sendall(early + b"abc")
            assert made.recv(65536).endswith(b"\r\n\r\n0")
            time.sleep(0.3)
            made.sendall(b"defghij" + ASK.replace(b"/a", b"/b") + b"\r\n")
            assert rest(made).endswith(b"\r\n\r\n0")  # and nothing follows


@pytest.mark.parametrize(
    "said", [b"", b"GET", ASK, CHUNKED, POST + b"content-length: 9\r\n\r\nabc"]
)
def test_what_does_not_go_on_is_ended(address, said):
    with connected(address) as made:
        made.sendall(said)
        assert rest(made) == b""


@pytest.mark.parametrize(
    ("first", "drop"),
    [(ASK, b"a: b\r\n"), (CHUNKED, b"1\r\nx\r\n"),
     (POST.replace(b"/a", b"/unread") + b"content-length: 999\r\n\r\n", b"x")],
)  # fmt: skip
def test_drops_do_not_keep_it(address, first, drop):
    with connected(address) as made:
        made.sendall(first)
        with pytest.raises(ConnectionError):
            go_on(made, drop, pause_s=0.02)


def test_a_head_has_a_length(address):
    with connected(address) as made:
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                made.sendall(b"" if _ else ASK)
                made.sendall(b"name: " + b"x" * 1_000 + b"\r\n")
        head, _, body = rest(made).partition(b"\r\n\r\n")
        # Where it still sends when the server ends, it may not hear why.
        assert not head or head.startswith(b"HTTP/1.1 431 ")
        assert not body or "head" in json.loads(body)["error"]


def test_a_head_that_is_just_too_long_is_told_so(address):
    with connected(address) as made:
        made.sendall(ASK + b"name: " + b"x" * connection.HEAD_BYTES)
        head, _, body = rest(made).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert b"content-length: %d" % len(body) in head
        assert "too long" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "drop", [b"x: " + b"y" * 60_000, b"n: " + b"v" * 60_000 + b"\r\n"]
)
def test_trailers_have_a_length(address, drop):
    with connected(address) as made:
        made.sendall(CHUNKED + b"1\r\nx\r\n0\r\n")
        with pytest.raises(ConnectionError):
            go_on(made, drop)


def test_extensions_of_chunks_have_a_length(address):
    with connected(address) as made:
        made.sendall(CHUNKED)
        with pytest.raises(ConnectionError):
            go_on(made, b"1;" + b"e" * 60_000 + b"\r\nx\r\n")


def test_who_does_not_read_is_ended(address):
    with connected(address) as made:
        made.sendall(ASK.replace(b"/a", b"/large") + b"\r\n")
        time.sleep(1.0)
        assert len(rest(made)) < 10**8


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00",  # TLS
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: 99999999999999999999999\r\n\r\n",
        CHUNKED + b"ffffffffffffffffffffff\r\n",
        CHUNKED + b"zz\r\n",
        ASK + b"a\x00b: c\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(address, said):
    with connected(address) as made:
        made.sendall(said)
        found = rest(made)
        assert not found or b" 400 " in found.partition(b"\r\n")[0]


def test_an_upgrade_is_not_made(address):
    with connected(address) as made:
        made.sendall(ASK + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n")
        assert b" 101 " not in made.recv(65536).partition(b"\r\n")[0]


def test_beyond_a_number_of_connections_one_is_told_to_come_again(address, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS", 3)
    monkeypatch.setattr(connection, "HEAD_S", 30.0)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            made = stack.enter_context(connected(address))
            made.sendall(ASK + b"\r\n")
            assert made.recv(65536).endswith(b"\r\n\r\n0")
        one_more = stack.enter_context(connected(address))
        head, _, body = rest(one_more).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert json.loads(body) == {"error": "too many connections"}
    monkeypatch.setattr(connection, "HEAD_S", 0.1)


def test_many_that_say_nothing_hold_no_place(address, monkeypatch):
    monkeypatch.setattr(connection, "CONNECTIONS", 20)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connected(address))
        for _ in range(200):
            with connected(address) as made:
                made.sendall(ASK + b"connection: close\r\n\r\n")
                if rest(made).endswith(b"\r\n\r\n0"):
                    return
            time.sleep(0.05)
        pytest.fail("it was never answered")


def test_it_is_looked_after_over_and_over(monkeypatch):
    class State:
        connections: frozenset[object] = frozenset({object()})  # none of ours

    async def run():
        monkeypatch.setattr(connection, "LOOK_S", 0.001)
        watch = asyncio.create_task(connection.look_after(State()))  # type: ignore[arg-type]
        await asyncio.sleep(0.02)
        assert not watch.done()
        watch.cancel()

    asyncio.run(run())
