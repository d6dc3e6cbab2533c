"""The cloud against clients that are slow, wrong, greedy or gone."""

import json
import socket
import time
from typing import ClassVar

import pytest
import torch
from tests.unit.partition.live.nets import made, served

from trimtab.errors import UsageError
from trimtab.partition.live.cloud import Quotas
from trimtab.partition.live.wire import (
    Kind,
    Part,
    Reader,
    chunks,
    frame,
    head,
    parse_head,
    parse_record,
    record,
)


class Client:
    """Bytes on a socket."""

    opened: ClassVar[list["Client"]] = []

    def __init__(self, port, halves=None):
        self.opened.append(self)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.frames = Reader()
        self.found = []
        if halves is not None:
            self.send(record(Kind.HELLO, halves.identity()))
            assert self.next().kind is Kind.WELCOME

    def send(self, *data):
        for each in data:
            self.socket.sendall(each)

    def next(self):
        while not self.found:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.found += self.frames.feed(data)
        return self.found.pop(0)

    def ended(self):
        """Whether the other side has closed, within the timeout."""
        try:
            while (each := self.next()) is not None:
                assert each.kind is Kind.ERROR
        except ConnectionResetError:
            pass
        return True

    def ask(self, halves, x, cut=2, number=1):
        crossing = halves.head(halves.run.bind(x), cut)
        asked = halves.encode(crossing, cut, 0)
        self.send(
            head(Kind.REQUEST, number, cut=cut, codec=0, milliseconds=0, seconds=0.0,
                 parts=asked.parts),
            *chunks(number, asked.payloads),
        )  # fmt: skip

    def reply(self, halves):
        first = self.next()
        assert first.kind is Kind.REPLY, first
        incoming = halves.expect_results(parse_head(first.body))
        while not incoming.done:
            incoming.add(self.next().body)
        return first.request, halves.run.results(halves.decode_results(incoming))


@pytest.fixture(autouse=True)
def closing():
    yield
    while Client.opened:
        Client.opened.pop().socket.close()


@pytest.fixture(scope="module")
def both():
    return made()


def test_requests_are_answered_in_any_order(both):
    net, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port, halves)
        xs = [torch.randn(1, 3, 16, 16) for _ in range(8)]
        for number, x in enumerate(xs, 1):
            client.ask(halves, x, cut=number % 5, number=number)
        for _ in xs:
            number, found = client.reply(halves)
            assert torch.equal(found, net(xs[number - 1]))
        assert cloud.cloud.state()["answers"] == 8
        assert cloud.cloud.state()["held_bytes"] == 0


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(Kind.BYE),
        record(Kind.HELLO, {"graph": "another"}),
        frame(Kind.HELLO, 0, b"[]"),
        frame(Kind.CHUNK, 1, b"x"),
        bytes(100),
    ],
)
def test_who_says_it_wrong_is_shown_out(both, data):
    _, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port)
        client.send(data)
        assert client.ended()
        assert Client(cloud.port, halves)  # others are served


@pytest.mark.parametrize(
    "data",
    [
        frame(Kind.CHUNK, 9, b"x"),
        frame(Kind.WELCOME, 0, b"{}"),
        head(Kind.REQUEST, 1, cut=77, codec=0, milliseconds=0, seconds=0.0, parts=[]),
        head(Kind.REQUEST, 1, cut=0, codec=0, milliseconds=0, seconds=0.0,
             parts=[Part("raw", 0, 0, 2**31)]),
        head(Kind.REQUEST, 1, cut=0, codec=0, milliseconds=0, seconds=0.0,
             parts=[Part("raw", 0, 0, 8)]) + frame(Kind.CHUNK, 1, bytes(9)),
    ],
)  # fmt: skip
def test_requests_that_no_cut_has_end_the_connection(both, data):
    _, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port, halves)
        client.send(data)
        said = client.next()
        assert said.kind is Kind.ERROR
        assert parse_record(said.body)["remedy"]
        assert client.ended()
        assert cloud.cloud.state()["held_bytes"] == 0


def test_values_of_a_wrong_length_are_an_answer_of_their_own(both):
    net, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port, halves)
        client.send(
            head(Kind.REQUEST, 5, cut=0, codec=0, milliseconds=0, seconds=0.0,
                 parts=[Part("raw", 0, 0, 8)]),
            frame(Kind.CHUNK, 5, bytes(8)),
        )  # fmt: skip
        said = client.next()
        assert (said.kind, said.request) == (Kind.ERROR, 5)
        x = torch.randn(1, 3, 16, 16)
        client.ask(halves, x, number=6)
        assert torch.equal(client.reply(halves)[1], net(x))


def test_a_slow_client_is_shown_out_and_takes_no_memory(both):
    _, halves = both
    quotas = Quotas(hello_s=0.3, message_s=0.5, idle_s=0.5)
    with served(halves, quotas=quotas) as cloud:
        silent = Client(cloud.port)
        begun = time.monotonic()
        assert silent.ended()
        assert time.monotonic() - begun < 4
        slow = Client(cloud.port, halves)
        slow.send(
            head(Kind.REQUEST, 1, cut=0, codec=0, milliseconds=0, seconds=0.0,
                 parts=[Part("raw", 0, 0, 3072)])
        )  # fmt: skip

        def dribble():
            for _ in range(100):  # a byte now and then
                slow.send(frame(Kind.CHUNK, 1, b"x"))
                time.sleep(0.05)

        with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)):
            dribble()
        assert cloud.cloud.state()["held_bytes"] == 0
        idle = Client(cloud.port, halves)
        assert idle.ended()


def test_a_frame_that_comes_byte_by_byte_is_no_sign_of_life(both):
    _, halves = both
    with served(halves, quotas=Quotas(message_s=0.3)) as cloud:
        slow = Client(cloud.port, halves)

        def dribble():
            for byte in frame(Kind.PROBE, 1, bytes(1_000)):
                slow.send(bytes([byte]))
                time.sleep(0.02)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            dribble()


def test_what_was_refused_is_not_kept_however_much_of_it_comes(both):
    _, halves = both
    with served(halves, quotas=Quotas(held_bytes=100)) as cloud:
        client = Client(cloud.port, halves)
        begun = head(Kind.REQUEST, 0, cut=0, codec=0, milliseconds=0, seconds=0.0,
                     parts=[Part("raw", 0, 0, 3072)])  # fmt: skip
        body = Reader().feed(begun)[0].body
        for number in range(1, 65):
            client.send(frame(Kind.REQUEST, number, body), *chunks(number, [bytes(99)]))
            assert client.next().kind is Kind.OVERLOADED
        (peer,) = cloud.cloud._peers
        assert len(peer.coming) == 64
        assert not any(each.incoming._payload for each in peer.coming.values())
        assert cloud.cloud.state()["held_bytes"] == 0
        client.send(frame(Kind.REQUEST, 65, body))
        said = client.next()
        assert said.kind is Kind.ERROR
        assert "64 that were refused" in parse_record(said.body)["rule"]
        assert client.ended()


def test_answers_do_not_pile_up_for_who_does_not_read(both):
    _, halves = both
    quotas = Quotas(requests=3, message_s=0.5)
    with served(halves, quotas=quotas) as cloud:
        client = Client(cloud.port, halves)
        x = torch.randn(1, 3, 16, 16)
        cloud.cloud._send = _never(cloud.cloud._send)
        for number in range(1, 4):
            client.ask(halves, x, number=number)
        until = time.monotonic() + 10
        while cloud.cloud.state()["open_connections"]:
            (peer,) = cloud.cloud._peers or (None,)
            assert peer is None or len(peer.working) <= 3
            assert time.monotonic() < until
            time.sleep(0.02)


def _never(send):
    """Like a connection whose other side does not read."""
    import asyncio

    async def blocked(peer, *frames):
        async with asyncio.timeout(0.3):
            await asyncio.Event().wait()

    return blocked


def test_an_error_that_nobody_expects_is_answered(both, monkeypatch):
    _, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port, halves)

        def breaks(values, cut):
            raise ZeroDivisionError

        monkeypatch.setattr(halves, "tail", breaks)
        client.ask(halves, torch.randn(1, 3, 16, 16), number=3)
        said = client.next()
        assert (said.kind, said.request) == (Kind.ERROR, 3)
        assert cloud.cloud.state()["errors"] == 1


def test_what_is_too_much_is_refused_for_now(both):
    net, halves = both
    with served(halves, quotas=Quotas(held_bytes=4_000)) as cloud:
        client = Client(cloud.port, halves)
        client.send(
            head(Kind.REQUEST, 1, cut=0, codec=0, milliseconds=0, seconds=0.0,
                 parts=[Part("raw", 0, 0, 3072)])
        )  # fmt: skip
        x = torch.randn(1, 3, 16, 16)
        client.ask(halves, x, cut=0, number=2)
        said = client.next()
        assert (said.kind, said.request) == (Kind.OVERLOADED, 2)
        assert parse_record(said.body)["retry_after_s"] > 0
        client.send(*chunks(1, [bytes(3072)]))
        assert client.reply(halves)[0] == 1
        client.ask(halves, x, cut=0, number=3)
        assert torch.equal(client.reply(halves)[1], net(x))


def test_a_client_has_its_share_of_bytes(both):
    _, halves = both
    with served(halves, quotas=Quotas(bytes_per_s=1_000.0)) as cloud:
        client = Client(cloud.port, halves)
        x = torch.randn(1, 3, 16, 16)
        kinds = []
        for number in range(1, 6):
            client.ask(halves, x, cut=0, number=number)
            first = client.next()
            kinds.append(first.kind)
            if first.kind is Kind.REPLY:
                client.next()
        assert kinds[:3] == [Kind.REPLY] * 3
        assert Kind.OVERLOADED in kinds[3:]
        # A new connection of the same client has no more.
        other = Client(cloud.port, halves)
        other.ask(halves, x, cut=0)
        said = other.next()
        assert said.kind is Kind.OVERLOADED
        assert 1.0 < parse_record(said.body)["retry_after_s"] <= 3.1  # until it has it


def test_no_more_connections_than_there_may_be(both):
    _, halves = both
    with served(halves, quotas=Quotas(connections=2)) as cloud:
        kept = [Client(cloud.port, halves) for _ in range(2)]
        third = Client(cloud.port)
        assert third.ended()
        kept[0].send(frame(Kind.BYE))
        assert kept[0].ended()
        assert Client(cloud.port, halves)


def test_probes_are_answered_and_cancelled_requests_are_not(both):
    net, halves = both
    with served(halves) as cloud:
        client = Client(cloud.port, halves)
        client.send(frame(Kind.PROBE, 4, bytes(30_000)))
        assert client.next() == client.frames.feed(frame(Kind.PROBE, 4))[0]
        client.send(
            head(Kind.REQUEST, 1, cut=0, codec=0, milliseconds=0, seconds=0.0,
                 parts=[Part("raw", 0, 0, 3072)]),
            *chunks(1, [bytes(1000)]), frame(Kind.CANCEL, 1), frame(Kind.CANCEL, 9),
            frame(Kind.PROBE, 5),
        )  # fmt: skip
        assert client.next().request == 5
        assert cloud.cloud.state()["cancelled"] == 1
        assert cloud.cloud.state()["held_bytes"] == 0
        # Its number may be used again: it is not half there.
        x = torch.randn(1, 3, 16, 16)
        client.ask(halves, x, number=1)
        assert torch.equal(client.reply(halves)[1], net(x))


@pytest.mark.parametrize("name", ["connections", "held_bytes", "message_s"])
def test_quotas_are_above_nothing(name):
    with pytest.raises(UsageError, match=name):
        Quotas(**{name: 0})


def test_an_address_that_is_taken_is_told(both):
    import asyncio

    from trimtab.partition.live.cloud import Cloud

    _, halves = both
    with served(halves) as cloud:
        with pytest.raises(UsageError, match="listening"):
            asyncio.run(Cloud(halves).start(port=cloud.port))
        assert json.dumps(cloud.cloud.state())
