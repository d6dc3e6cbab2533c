"""One connection: handshakes, answers out of order, and ends."""

import asyncio
import contextlib
from typing import Any

import pytest
import torch
from tests.unit.partition.live.nets import made, served

from trimtab.errors import DataError, LinkError, OverloadedError
from trimtab.partition.live.link import Link
from trimtab.partition.live.wire import Kind, Reader, frame, head, record


@pytest.fixture(scope="module")
def both():
    return made()


@contextlib.asynccontextmanager
async def scripted(*answers):
    """A server that answers each frame with the next of some bytes."""
    left = list(answers)

    async def talk(reader, writer):
        frames = Reader()
        while data := await reader.read(65536):
            for _ in frames.feed(data):
                if left:
                    writer.write(left.pop(0))
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.05)  # for transports that the other side has closed


def test_a_probe_takes_as_long_as_the_link(both):
    _, halves = both

    async def go(port):
        link = await Link.open(halves, "127.0.0.1", port)
        assert link.alike
        took = await link.probe(30_000, within_s=5)
        await link.close()
        assert link.closed
        with pytest.raises(LinkError, match="has ended"):
            await link.probe(0, within_s=1)
        return took

    with served(halves) as cloud:
        assert 0 < asyncio.run(go(cloud.port)) < 5


def test_requests_share_a_connection(both):
    net, halves = both
    xs = [torch.randn(1, 3, 16, 16) for _ in range(6)]

    async def go(port):
        link = await Link.open(halves, "127.0.0.1", port)

        async def ask(x, cut):
            crossing = halves.head(halves.run.bind(x), cut)
            asked = halves.encode(crossing, cut, 0)
            return await link.ask(asked, within_s=10)

        found = await asyncio.gather(*(ask(x, at % 4) for at, x in enumerate(xs)))
        await link.close()
        return found

    with served(halves) as cloud:
        for x, reply in zip(xs, asyncio.run(go(cloud.port)), strict=True):
            assert torch.equal(halves.run.results(reply.values), net(x))
            assert 0 < reply.cloud_s < reply.took_s


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (record(Kind.ERROR, {"asked": "a", "rule": "go away"}), DataError, "go away"),
        (record(Kind.WELCOME, {"graph": "x"}), DataError, "same bundle"),
        (b"HTTP/1.1 200 OK\r\n\r\n", DataError, "letters TT"),
        (b"", LinkError, "no answer within"),
    ],
)
def test_handshakes_end_in_one_message(both, answer, error, said):
    _, halves = both

    async def go():
        async with scripted(answer) as port:
            await Link.open(halves, "127.0.0.1", port, within_s=0.5)

    with pytest.raises(error, match=said):
        asyncio.run(go())


def test_nobody_there_is_a_lost_link(both):
    _, halves = both
    with served(halves) as cloud:
        port = cloud.port
    with pytest.raises(LinkError, match="See whether it is up"):
        asyncio.run(Link.open(halves, "127.0.0.1", port))


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (record(Kind.OVERLOADED, {"retry_after_s": 3}, 1), OverloadedError, "no room"),
        (record(Kind.OVERLOADED, {"retry_after_s": "x"}, 1), OverloadedError, "0.10 s"),
        (record(Kind.ERROR, {"rule": "late"}, 1), LinkError, "late"),
        (frame(Kind.CHUNK, 1, b"x"), LinkError, "no head"),
        (frame(Kind.REPLY, 1, b"x"), LinkError, "head of 1 bytes"),
        (frame(Kind.REPLY, 7, b"x"), LinkError, "nothing of that number"),
        (b"", LinkError, "no answer within"),
    ],
)
def test_answers_that_are_none_are_an_error_of_the_request(both, answer, error, said):
    _, halves = both

    async def go():
        welcome = record(Kind.WELCOME, halves.identity())
        async with scripted(welcome, answer) as port:
            link = await Link.open(halves, "127.0.0.1", port)
            crossing = halves.head(halves.run.bind(torch.zeros(1, 3, 16, 16)), 0)
            asked = halves.encode(crossing, 0, 0)
            try:
                await link.ask(asked, within_s=0.5)
            finally:
                await link.close()

    with pytest.raises(error, match=said):
        asyncio.run(go())


def test_no_more_is_asked_at_once_than_the_cloud_takes(both):
    _, halves = both

    async def go():
        welcome = record(Kind.WELCOME, {**halves.identity(), "requests": 2})
        async with scripted(welcome) as port:
            link = await Link.open(halves, "127.0.0.1", port)
            crossing = halves.head(halves.run.bind(torch.zeros(1, 3, 16, 16)), 0)
            asked = halves.encode(crossing, 0, 0)
            found = await asyncio.gather(
                *(link.ask(asked, within_s=0.3) for _ in range(3)),
                return_exceptions=True,
            )
            await link.close()
            return found

    *sent, third = asyncio.run(go())
    assert isinstance(third, OverloadedError)
    assert all("no answer within" in str(each) for each in sent)


def test_what_is_given_up_in_the_middle_is_withdrawn(both, monkeypatch):
    """The cloud would wait for the rest of it, and then end the connection."""
    net, halves = both
    x = torch.randn(1, 3, 16, 16)

    async def go(cloud):
        link = await Link.open(halves, "127.0.0.1", cloud.port)
        crossing = halves.head(halves.run.bind(x), 1)
        asked = halves.encode(crossing, 1, 0)
        send = link._send

        async def only_the_head(data):
            if data[3] == Kind.CHUNK:
                await asyncio.Event().wait()
            await send(data)

        monkeypatch.setattr(link, "_send", only_the_head)
        with pytest.raises(LinkError, match="no answer"):
            await link.ask(asked, within_s=0.2)
        monkeypatch.undo()
        async with asyncio.timeout(10):
            while cloud.cloud.state()["cancelled"] != 1:
                await asyncio.sleep(0.01)
        assert cloud.cloud.state()["held_bytes"] == 0
        reply = await link.ask(asked, within_s=5)
        await link.close()
        return reply

    with served(halves) as cloud:
        reply = asyncio.run(go(cloud))
    assert torch.equal(halves.run.results(reply.values), net(x))


def test_replies_that_only_begin_are_bounded(both):
    _, halves = both
    values = halves.run.run(halves.run.bind(torch.zeros(1, 3, 16, 16)))
    parts, _ = halves.encode_results(values)

    async def begun():
        writer: Any = None  # nothing is sent
        link = Link(halves, asyncio.StreamReader(), writer)
        link._last = 100  # so many were asked
        for number in range(1, 100):
            said = head(Kind.REPLY, number, cut=0, codec=0, milliseconds=0,
                        seconds=0.0, parts=parts)  # fmt: skip
            (each,) = Reader().feed(said)
            link._take(each.kind, each.request, each.body)

    with pytest.raises(DataError, match="reply 65"):
        asyncio.run(begun())
