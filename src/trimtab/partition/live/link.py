"""A connection from edge to cloud; over 400 lines: out, in, withdrawn, ended."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from trimtab.errors import DataError, LinkError, OverloadedError
from trimtab.graph.types import Ref
from trimtab.partition.live.halves import Halves, Outgoing
from trimtab.partition.live.wire import (
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

__all__ = ["Link", "Reply"]

_READ = 256 * 1024
_COMING = 64  # replies that are on their way at once; a cloud sends one after another


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The results of a request, and what they took.

    Attributes:
        values: live at the end of the network.
        took_s: from the first byte sent to the last received.
        cloud_s: that the cloud worked.
        queue_s: that the request waited there.
    """

    values: Mapping[Ref, Tensor]
    took_s: float
    cloud_s: float
    queue_s: float


@final
class Link:
    """A connection that both sides have agreed on.

    Attributes:
        alike: whether both sides compute with the same engine.
        closed: whether it has ended.
        keeps: position from which on the cloud has layers in memory.
        refused: positions of cuts whose layers it would not take into memory.
        shared: whether it has all of them, always.
    """

    def __init__(
        self,
        halves: Halves,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._halves, self._reader, self._writer = halves, reader, writer
        self._last = 0  # number given to a request or a probe
        self._open = 0  # requests
        self._most = 1  # of them, that the cloud takes
        self._leaving: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._coming: dict[int, Incoming] = {}
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.alike = False
        self.closed = False
        self.keeps = 0
        self.refused: set[int] = set()
        self.shared = True

    @classmethod
    async def open(
        cls,
        halves: Halves,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        name: str | None = None,
        within_s: float = 5.0,
    ) -> Link:
        """Return a connection, once the other side is known to have the same network.

        Args:
            halves: the network.
            host: of the cloud.
            port: of it.
            tls: context of a client; None for none.
            name: that the cloud's certificate must have; by default the host.
            within_s: that it may take.

        Raises:
            LinkError: the cloud cannot be reached, or does not answer.
            DataError: it has another network.
        """
        try:
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=tls, limit=_READ,
                    server_hostname=(name or host) if tls else None,
                )  # fmt: skip
                link = cls(halves, reader, writer)
                try:
                    await link._greet()
                except BaseException:
                    writer.close()
                    with contextlib.suppress(OSError, ssl.SSLError):
                        await writer.wait_closed()
                    raise
        except TimeoutError as error:
            raise _lost(host, port, f"no answer within {within_s:g} s") from error
        except (OSError, ssl.SSLError, EOFError) as error:
            raise _lost(host, port, str(error) or type(error).__name__) from error
        link._task = asyncio.create_task(link._receive())
        return link

    async def _greet(self) -> None:
        self._writer.write(record(Kind.HELLO, self._halves.identity()))
        await self._writer.drain()
        frames = Reader()
        while True:
            data = await self._reader.read(_READ)
            if not data:
                raise ConnectionResetError("it closed the connection")
            for each in frames.feed(data):
                said = parse_record(each.body)
                if each.kind is Kind.WELCOME:
                    self.alike = self._halves.agree(said)
                    self.shared = said.get("shared") is not False
                    self.keeps = 0 if self.shared else self._halves.end
                    most = said.get("requests")
                    self._most = max(1, most) if isinstance(most, int) else 1
                    return
                raise DataError(
                    str(said.get("asked", "a connection"))[:200],
                    rule=f"the cloud says: {str(said.get('rule', 'no'))[:200]}",
                    where="handshake",
                    remedy="start both sides with the same bundle",
                )

    async def _receive(self) -> None:
        frames = Reader()
        ended: BaseException = ConnectionResetError("the cloud closed the connection")
        try:
            while data := await self._reader.read(_READ):
                for each in frames.feed(data):
                    self._take(each.kind, each.request, each.body)
        except (OSError, ssl.SSLError, DataError) as error:
            ended = error
        finally:
            self._end(ended)

    def _take(self, kind: Kind, number: int, body: bytes) -> None:
        future = self._waiting.get(number)
        if kind is Kind.REPLY:
            wrong = number > self._last or number in self._coming
            if wrong or len(self._coming) >= _COMING:
                raise DataError(
                    f"reply {number}",
                    rule="nothing of that number was asked, it is coming already, or "
                    "too many are",
                    where="what came over the link",
                    remedy="check that the other side is a cloud of trimtab",
                )
            said = parse_head(body)
            incoming = self._halves.expect_results(said)
            self._coming[number] = incoming
            if incoming.done:
                self._whole(number, future)
        elif kind is Kind.CHUNK:
            if number not in self._coming:
                raise DataError(
                    f"a chunk of reply {number}",
                    rule="no head of that number came",
                    where="what came over the link",
                    remedy="check that the other side is a cloud of trimtab",
                )
            if self._coming[number].add(body):
                self._whole(number, future)
        elif kind in (Kind.PROBE, Kind.READY):
            _settle(future, None)
        elif kind is Kind.OVERLOADED:
            _settle(future, _overloaded(parse_record(body), number))
        elif kind is Kind.ERROR:
            said_record = parse_record(body)
            text = str(said_record.get("rule") or said_record.get("error") or "no")
            error = LinkError(
                f"request {number}",
                rule=f"the cloud says: {text[:200]}",
                where="cloud",
                remedy="see its log",
            )
            if not number:
                raise DataError(text[:200], remedy="see the log of the cloud")
            _settle(future, error)

    def _whole(self, number: int, future: asyncio.Future[Any] | None) -> None:
        incoming = self._coming.pop(number)
        # An answer that nobody waits for any more is not one.
        _settle(future, incoming)

    async def ask(self, asked: Outgoing, *, within_s: float) -> Reply:
        """Return the results of a request.

        Args:
            asked: what crosses.
            within_s: that it may take; the cloud does not begin what is later.

        Raises:
            LinkError: no answer came in time, or the connection ended.
            OverloadedError: the cloud has no room.
            DataError: what came is no answer.
        """
        if self._open >= self._most:
            raise _overloaded({}, self._last + 1)
        number, future = self._new()
        begun = time.monotonic()
        sent = False
        self._open += 1
        try:
            async with asyncio.timeout(within_s):
                await self._send(
                    head(
                        Kind.REQUEST, number, cut=asked.cut, codec=asked.codec,
                        milliseconds=min(2**32 - 1, max(1, round(1000 * within_s))),
                        seconds=0.0, parts=asked.parts,
                    )
                )  # fmt: skip
                for each in chunks(number, asked.payloads):
                    if future.done():  # it is refused: no need for the rest
                        break
                    await self._send(each)
                else:
                    sent = True
                incoming: Incoming = await future
            took = time.monotonic() - begun
            values = self._halves.decode_results(incoming)
        except TimeoutError as error:
            raise LinkError(
                f"request {number}",
                rule=f"no answer within {within_s:.2f} s",
                where="cloud",
                remedy="see whether the link is up",
            ) from error
        except LinkError:
            raise
        except OSError as error:
            raise LinkError(
                f"request {number}",
                rule=str(error) or type(error).__name__,
                where="cloud",
                remedy="see whether the cloud is up",
            ) from error
        finally:
            self._open -= 1
            self._waiting.pop(number, None)
            if not (sent and future.done()) or future.cancelled():
                future.cancel()
                # Whoever gave up does not wait for a link that may be blocked.
                leaving = asyncio.create_task(self._withdraw(number))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
        return Reply(
            values=values,
            took_s=took,
            cloud_s=incoming.head.seconds,
            queue_s=incoming.head.milliseconds / 1000,
        )

    async def _withdraw(self, number: int) -> None:
        with contextlib.suppress(OSError):
            await self._send(frame(Kind.CANCEL, number))

    async def prepare(self, cut: int, *, within_s: float) -> None:
        """Have the cloud take the layers after a cut into memory.

        Raises:
            LinkError: it will not, or does not answer.
        """
        what = f"preparing cut {self._halves.cuts[cut].key}"
        await self._asked(
            lambda number: record(Kind.PREPARE, {"cut": cut}, number), what, within_s
        )
        self.keeps = self._halves.cuts[cut].position

    async def probe(self, size: int, *, within_s: float) -> float:
        """Return the seconds until a probe of so many bytes is answered.

        Raises:
            LinkError: it is not.
            OverloadedError: the cloud takes no more bytes now.
        """
        begun = time.monotonic()
        what = f"a probe of {size} bytes"
        await self._asked(
            lambda number: frame(Kind.PROBE, number, bytes(size)), what, within_s
        )
        return time.monotonic() - begun

    async def _asked(
        self, made: Callable[[int], bytes], what: str, within_s: float
    ) -> None:
        """Send a frame that is answered with another."""
        number, future = self._new()
        try:
            async with asyncio.timeout(within_s):
                await self._send(made(number))
                await future
        except OverloadedError:
            raise
        except (TimeoutError, OSError) as error:
            raise LinkError(
                what,
                rule=str(error) or f"no answer within {within_s:.2f} s",
                where="cloud",
                remedy="see whether the link is up",
            ) from error
        finally:
            self._waiting.pop(number, None)

    def _new(self) -> tuple[int, asyncio.Future[Any]]:
        """Return a number and what its answer will be.

        Raises:
            LinkError: the connection has ended.
        """
        if self.closed:
            raise LinkError(
                "a request",
                rule="the connection has ended",
                where="cloud",
                remedy="connect again",
            )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._last += 1
        self._waiting[self._last] = future
        return self._last, future

    async def _send(self, data: bytes) -> None:
        async with self._lock:  # one chunk, then another request's
            if self.closed:
                raise ConnectionResetError("the connection has ended")
            self._writer.write(data)
            await self._writer.drain()

    def _end(self, error: BaseException) -> None:
        self.closed = True
        lost = LinkError(
            "a request",
            rule=str(error) or type(error).__name__,
            where="cloud",
            remedy="connect again",
        )
        for future in self._waiting.values():
            _settle(future, lost)
        self._waiting.clear()
        self._coming.clear()
        self._writer.close()

    async def close(self) -> None:
        """Say good-bye and end."""
        if not self.closed:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._send(frame(Kind.BYE))
        ending = [*self._leaving, *([] if self._task is None else [self._task])]
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if not self.closed:
            self._end(ConnectionResetError("closed"))
        with contextlib.suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


def _settle(future: asyncio.Future[Any] | None, result: Any) -> None:
    """Give a request its end, once."""
    if future is None or future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _overloaded(said: dict[str, Any], number: int) -> OverloadedError:
    wait = said.get("retry_after_s", 0.1)
    seconds = float(wait) if isinstance(wait, int | float) else 0.1
    return OverloadedError(
        f"request {number}",
        rule="the cloud has no room for it",
        where="cloud",
        remedy=f"try again in {seconds:.2f} s",
        retry_after_s=min(60.0, max(0.0, seconds)),
    )


def _lost(host: str, port: int, rule: str) -> LinkError:
    return LinkError(
        f"cloud {host}:{port}",
        rule=rule,
        where="trimtab.partition.live",
        remedy="see whether it is up: trimtab cloud BUNDLE --listen :PORT",
    )
