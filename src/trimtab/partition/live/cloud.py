"""The cloud's side; over 400 lines: talk, quotas, deadlines, work, all of one peer.

It runs tails of a network for whoever may ask, within limits: one process, one set of
weights, one event loop, and the network in threads of its own.
What an edge sends is checked before memory is taken for it, takes part of a quota, and
has to keep coming: a connection that says nothing, or sends a byte now and then, is
closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, final

from trimtab.errors import DataError, TrimtabError, UsageError
from trimtab.graph.execute import Executor
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.wire import (
    Head,
    Incoming,
    Kind,
    Reader,
    chunks,
    frame,
    head,
    parse_head,
    parse_record,
    record,
)

__all__ = ["Cloud", "Quotas"]

_LOG = logging.getLogger(__name__)
_READ = 256 * 1024
_ERRORS_KEPT = 300  # characters of an error that is sent
_REFUSED = 64  # requests of a connection that were refused and are still coming


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What one process gives.

    Attributes:
        connections: at once.
        requests: of a connection that are not answered yet.
        queue: of requests that wait for a worker.
        held_bytes: of values on their way, of all connections together.
        bytes_per_s: of a client on average; None for no limit.
        hello_s: that a new connection has to say who it is.
        idle_s: that a connection may say nothing.
        message_s: that a request may take to come.

    Raises:
        UsageError: a number that is not above 0.
    """

    connections: int = 64
    requests: int = 32
    queue: int = 64
    held_bytes: int = 256 * 2**20
    bytes_per_s: float | None = None
    hello_s: float = 5.0
    idle_s: float = 120.0
    message_s: float = 30.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not value > 0:
                raise UsageError(
                    f"a quota {each.name} of {value}",
                    rule="it is above 0",
                    where="trimtab.partition.live.cloud",
                    remedy="give a larger number",
                )


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A request on its way; one that was refused is only counted until it is over."""

    incoming: Incoming
    begun: float
    cancelled: bool = False
    refused: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class _Peer:
    """A connection."""

    name: str
    writer: asyncio.StreamWriter
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    coming: dict[int, _Asked] = field(default_factory=dict)
    working: dict[int, _Asked] = field(default_factory=dict)
    position: int | None = None  # from which on it needs the layers


@final
class Cloud:
    """Answers requests.

    Args:
        halves: the network.
        quotas: what it gives.
        tls: context of a server that asks clients for certificates; None for none, on
            loopback or where something else protects the link.
        workers: tails that run at once.
        lazy: whether only the layers are in memory that connected edges have asked
            for; they are loaded when they do.
        most_bytes: of these layers' weights.

    Attributes:
        counts: of what happened, by name.
    """

    def __init__(
        self,
        halves: Halves,
        *,
        quotas: Quotas | None = None,
        tls: ssl.SSLContext | None = None,
        workers: int = 1,
        lazy: bool = False,
        most_bytes: int | None = None,
    ) -> None:
        self._lazy, self._most_bytes = lazy, most_bytes
        self.halves, self.quotas, self.tls = halves, quotas or Quotas(), tls
        self.counts: dict[str, int] = dict.fromkeys(
            ("connections", "frames", "requests", "answers", "refused", "cancelled",
             "errors", "broken", "late"), 0,
        )  # fmt: skip
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tail")
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()
        self._held = 0
        self._waiting = 0
        self._service_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = workers
        # By client: a new connection has no more than an old one.
        self._quota: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; return the port.

        Raises:
            UsageError: the address cannot be had.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, ssl=self.tls, limit=_READ,
                **({"ssl_handshake_timeout": self.quotas.hello_s} if self.tls else {}),
            )  # fmt: skip
        except OSError as error:
            raise UsageError(
                f"listening on {host}:{port}",
                rule=error.strerror or str(error),
                where="trimtab cloud",
                remedy="give another address or port",
            ) from error
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Close all connections; requests that run are not answered any more."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # A connection

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name = _name_of(writer)
        if len(self._peers) >= self.quotas.connections:
            self.counts["refused"] += 1
            writer.close()
            return
        peer = _Peer(name=name, writer=writer)
        self._peers.add(peer)
        self.counts["connections"] += 1
        try:
            await self._talk(reader, peer)
        except DataError as error:
            self.counts["broken"] += 1
            _LOG.warning("%s: %s", name, error)
            with contextlib.suppress(OSError):
                await self._send(peer, record(Kind.ERROR, error.to_dict()))
        except TimeoutError:
            self.counts["broken"] += 1
            _LOG.warning("%s: too slow", name)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError) as error:
            _LOG.info("%s: %s", name, error)
        finally:
            self._peers.discard(peer)
            for asked in peer.working.values():
                asked.cancelled = True
            for number in list(peer.coming):
                self._drop(peer, number)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, peer: _Peer) -> None:
        frames = Reader()
        greeted = False
        begun = parted = time.monotonic()
        while True:
            now = time.monotonic()
            if not greeted:
                left = begun + self.quotas.hello_s - now
            elif peer.coming or frames.held:
                oldest = [each.begun for each in peer.coming.values()]
                if frames.held:  # a byte of it now and then is no sign of life
                    oldest.append(parted)
                left = min(oldest) + self.quotas.message_s - now
            else:
                left = self.quotas.idle_s
            async with asyncio.timeout(max(0.0, left)):
                data = await reader.read(_READ)
            if not data:
                return
            whole = frames.feed(data)
            if whole or len(data) == frames.held:
                parted = time.monotonic()
            for each in whole:
                self.counts["frames"] += 1
                if not greeted:
                    if each.kind is not Kind.HELLO:
                        raise _unexpected(each.kind)
                    await self._greet(peer, each.body)
                    greeted = True
                elif each.kind is Kind.REQUEST:
                    await self._begin(peer, each.request, parse_head(each.body))
                elif each.kind is Kind.CHUNK:
                    self._chunk(peer, each.request, each.body)
                elif each.kind is Kind.CANCEL:
                    self._cancel(peer, each.request)
                elif each.kind is Kind.PROBE:
                    await self._probe(peer, each.request, len(each.body))
                elif each.kind is Kind.PREPARE:
                    await self._prepare(peer, each.request, parse_record(each.body))
                elif each.kind is Kind.BYE:
                    return
                else:
                    raise _unexpected(each.kind)

    async def _greet(self, peer: _Peer, body: bytes) -> None:
        said = parse_record(body)
        alike = self.halves.agree(said)
        welcome = {
            **self.halves.identity(), "alike": alike, "shared": not self._lazy,
            "requests": self.quotas.requests,
        }  # fmt: skip
        await self._send(peer, record(Kind.WELCOME, welcome))

    async def _probe(self, peer: _Peer, number: int, size: int) -> None:
        if wait_s := self._spend(peer, size):
            await self._refuse(peer, number, wait_s)
        else:
            await self._send(peer, frame(Kind.PROBE, number))

    async def _refuse(self, peer: _Peer, number: int, wait_s: float) -> None:
        after = max(wait_s, 0.01, self._service_s * self._waiting / self._workers)
        said = {"retry_after_s": after, "queue": self._waiting}
        await self._send(peer, record(Kind.OVERLOADED, said, number))

    async def _prepare(self, peer: _Peer, number: int, said: Mapping[str, Any]) -> None:
        cut = said.get("cut")
        if not isinstance(cut, int) or not 0 <= cut < len(self.halves.cuts):
            raise DataError(
                f"preparing cut {str(cut)[:20]}",
                rule=f"there are cuts 0 to {len(self.halves.cuts) - 1}",
                where=peer.name,
                remedy="start both sides with the same bundle",
            )
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._pool, self._keep, peer, cut)
        except TrimtabError as error:
            await self._send(peer, record(Kind.ERROR, _short(error), number))
        else:
            await self._send(peer, frame(Kind.READY, number))

    def _keep(self, peer: _Peer | None, cut: int) -> Executor:
        """Take the layers after a cut into memory; in a thread.

        Raises:
            DataError: they need more memory than there is.
            BundleError: they cannot be read.
        """
        keeping, end = self.halves.keeping, self.halves.end
        position = self.halves.cuts[cut].position
        if not self._lazy or (peer is None and keeping.has(range(position, end))):
            return keeping.run
        size = keeping.size_of(range(position, end))
        if self._most_bytes is not None and size > self._most_bytes:
            raise DataError(
                f"cut {self.halves.cuts[cut].key}",
                rule=f"the layers after it have {size} bytes, this side keeps at most "
                f"{self._most_bytes}",
                where="memory",
                remedy="cut later, or give the cloud more memory",
            )
        if peer is not None:
            peer.position = position
        # A copy: the loop adds and removes peers meanwhile.
        needed = [each.position for each in tuple(self._peers)]
        first = min([position, *(each for each in needed if each is not None)])
        return keeping.keep(range(first, end))

    # A request

    async def _begin(self, peer: _Peer, number: int, said: Head) -> None:
        if number in peer.coming or number in peer.working:
            raise DataError(
                f"request {number}",
                rule="one of that number is not answered yet",
                where=peer.name,
                remedy="number requests anew",
            )
        incoming = self.halves.expect(said)
        open_requests = len(peer.coming) + len(peer.working)
        full = (
            open_requests >= self.quotas.requests
            or self._held + said.size > self.quotas.held_bytes
            or self._waiting >= self.quotas.queue
        )
        wait_s = 0.0 if full else self._spend(peer, said.size)
        if full or wait_s:
            self.counts["refused"] += 1
            if sum(each.refused for each in peer.coming.values()) >= _REFUSED:
                raise DataError(
                    f"request {number}",
                    rule=f"{_REFUSED} that were refused are not over yet",
                    where=peer.name,
                    remedy="send or cancel what was begun, and wait",
                )
            incoming.forget()
            peer.coming[number] = _Asked(
                incoming=incoming, begun=time.monotonic(), refused=True
            )
            await self._refuse(peer, number, wait_s)
        else:
            peer.coming[number] = _Asked(incoming=incoming, begun=time.monotonic())
            self._held += said.size
        if incoming.done:
            self._whole(peer, number)

    def _spend(self, peer: _Peer, size: int) -> float:
        """Take bytes from a client's quota; return the seconds until it has them."""
        rate = self.quotas.bytes_per_s
        if rate is None:
            return 0.0
        now = time.monotonic()
        tokens, filled = self._quota.pop(peer.name, (10.0 * rate, now))
        tokens = min(10.0 * rate, tokens + rate * (now - filled))
        enough = tokens >= size
        self._quota[peer.name] = (tokens - size if enough else tokens, now)
        while len(self._quota) > 10_000:
            self._quota.popitem(last=False)
        return 0.0 if enough else (size - tokens) / rate

    def _chunk(self, peer: _Peer, number: int, body: bytes) -> None:
        asked = peer.coming.get(number)
        if asked is None:
            raise DataError(
                f"a chunk of request {number}",
                rule="no head of that number came",
                where=peer.name,
                remedy="send the head first",
            )
        if asked.incoming.add(body):
            self._whole(peer, number)

    def _whole(self, peer: _Peer, number: int) -> None:
        if peer.coming[number].refused:
            self._drop(peer, number)
            return
        asked = peer.working[number] = peer.coming.pop(number)
        self.counts["requests"] += 1
        self._waiting += 1
        task = asyncio.create_task(self._answer(peer, number, asked, time.monotonic()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self, peer: _Peer, number: int) -> None:
        if number in peer.coming:
            self._drop(peer, number)
        elif number in peer.working:
            peer.working[number].cancelled = True
        else:
            return
        self.counts["cancelled"] += 1

    def _drop(self, peer: _Peer, number: int) -> None:
        """Let go of a request that is not there whole."""
        asked = peer.coming.pop(number)
        if not asked.refused:
            self._held -= asked.incoming.head.size

    async def _answer(
        self, peer: _Peer, number: int, asked: _Asked, came: float
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            try:
                reply = await loop.run_in_executor(
                    self._pool, self._work, number, asked, came
                )
            finally:
                self._waiting -= 1
                self._held -= asked.incoming.head.size
            if not asked.cancelled and peer in self._peers:
                await self._send(peer, *reply)
        except OSError:
            # Gone, or it does not read: its answers may not pile up here.
            peer.writer.transport.abort()
        finally:
            peer.working.pop(number, None)

    def _work(self, number: int, asked: _Asked, came: float) -> list[bytes]:
        """Run a tail; in a thread."""
        begun = time.monotonic()
        said = asked.incoming.head
        if asked.cancelled:
            return []
        if said.milliseconds and 1000 * (begun - came) > said.milliseconds:
            self.counts["late"] += 1
            return [record(Kind.ERROR, {"error": "late"}, number)]
        try:
            values = self.halves.decode(asked.incoming)
            run = self._keep(None, said.cut)
            parts, payloads = self.halves.encode_results(
                self.halves.tail(values, said.cut, run)
            )
        except TrimtabError as error:
            self.counts["errors"] += 1
            return [record(Kind.ERROR, _short(error), number)]
        except Exception:  # whoever asked would wait for nothing
            self.counts["errors"] += 1
            _LOG.exception("request %d", number)
            return [record(Kind.ERROR, {"error": "an error that is logged"}, number)]
        seconds = time.monotonic() - begun
        self._service_s = 0.8 * self._service_s + 0.2 * seconds
        self.counts["answers"] += 1
        return [
            head(
                Kind.REPLY, number, cut=said.cut, codec=0,
                milliseconds=round(1000 * (begun - came)), seconds=seconds, parts=parts,
            ),
            *chunks(number, payloads),
        ]  # fmt: skip

    async def _send(self, peer: _Peer, *frames: bytes) -> None:
        async with peer.lock:
            for each in frames:
                peer.writer.write(each)
            async with asyncio.timeout(self.quotas.message_s):
                await peer.writer.drain()

    def state(self) -> dict[str, Any]:
        """Return counts and what is going on now."""
        return {
            **self.counts,
            "open_connections": len(self._peers),
            "waiting": self._waiting,
            "held_bytes": self._held,
            "kept_bytes": self.halves.keeping.bytes,
            "service_s": self._service_s,
        }


def _short(error: TrimtabError) -> dict[str, str]:
    return {key: each[:_ERRORS_KEPT] for key, each in error.to_dict().items()}


def _unexpected(kind: Kind) -> DataError:
    return DataError(
        f"a frame {kind.name}",
        rule="none of that kind belongs here",
        where="what came over the link",
        remedy="check that the other side is an edge of trimtab",
    )


def _name_of(writer: asyncio.StreamWriter) -> str:
    """Return who a client is: the name in its certificate, or its address."""
    certificate = writer.get_extra_info("peercert") or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    address = writer.get_extra_info("peername") or ("unknown",)
    return str(address[0])
