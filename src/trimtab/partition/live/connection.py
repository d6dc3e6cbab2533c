"""The link of an edge: made, compared, measured, left alone after failures.

One connection at a time, made again when it ends. After some failures in a row it is
left alone for a while, each time for twice as long, then tried with a probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import final

import torch

from trimtab.errors import DataError, LinkError, OverloadedError
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.partition.controller import Controller
from trimtab.partition.live.halves import Halves, Outgoing
from trimtab.partition.live.link import Link, Reply
from trimtab.zoo.inputs import example_values

__all__ = ["Address", "Connection", "Patience"]

_LOG = logging.getLogger(__name__)
_TICK_S = 0.1
_PING_S = 2.0
_CLOSE = 1e-3  # of results of other engines, relative and absolute


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the cloud is.

    Attributes:
        host: name or address.
        port: of it.
        tls: context of a client; None for none.
        name: in the cloud's certificate; by default the host.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the edge waits for what.

    Attributes:
        connect_s: for a connection.
        hedge: times of the predicted rest after which the edge runs it as well.
        hedge_s: least time until then.
        reply_s: for an answer, at least; a request with longer ones has ten times what
            was predicted.
        failures: in a row, after which the link is left alone.
        rest_s: that it is then, doubled every time that it fails again at once.
        most_rest_s: at most.
    """

    connect_s: float = 3.0
    hedge: float = 2.0
    hedge_s: float = 0.05
    reply_s: float = 2.0
    failures: int = 3
    rest_s: float = 0.5
    most_rest_s: float = 15.0


@final
class Connection:
    """The connection to the cloud, and whether it is to be used.

    It tells the controller whether there is one, and what probes show of it. All of it
    runs in one event loop.

    Args:
        halves: the network.
        controller: told of the link.
        cloud: where it is; None for none.
        patience: how long is waited.
        counts: of what happened, by name, that it adds to.
        load: returns what runs the nodes before a position; None where the edge may
            not run all of the network, so that results cannot be compared.

    Attributes:
        refused: why the cloud that listens there is not the right one; None if it is.
    """

    def __init__(
        self,
        halves: Halves,
        controller: Controller,
        cloud: Address | None,
        patience: Patience,
        counts: dict[str, int],
        *,
        load: Callable[[int], Awaitable[Executor]] | None,
    ) -> None:
        self._halves, self._controller = halves, controller
        self.cloud, self._patience, self._load = cloud, patience, load
        self._counts = counts
        self.refused: DataError | None = None
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._failures = self._rests = 0  # in a row
        self._rest_until = 0.0
        controller.connected = False

    @property
    def link(self) -> Link | None:
        """What requests go over, or None."""
        return None if self._link is None or self._link.closed else self._link

    async def ask(self, asked: Outgoing, *, within_s: float) -> Reply:
        """Ask the cloud; once more on a new connection if the first one ends.

        Args:
            asked: what crosses.
            within_s: that it may take, both together.

        Raises:
            LinkError: no answer came in time, or there is no connection.
            OverloadedError: the cloud has no room.
            DataError: what came is no answer.
        """
        until = time.monotonic() + within_s
        for attempt in range(2):
            link = await self._connected(at_once=attempt > 0)
            try:
                reply = await link.ask(asked, within_s=until - time.monotonic())
            except OverloadedError:
                self._counts["overloaded"] += 1
                raise
            except DataError as error:
                self.failed(str(error))
                raise
            except LinkError as error:
                self.failed(str(error))
                late = time.monotonic() >= until
                if attempt or late or not link.closed:
                    raise
                self._counts["retried"] += 1
            else:
                self._works()
                return reply
        raise AssertionError

    async def _connected(self, *, at_once: bool = False) -> Link:
        """Return the connection; open one if there is none.

        Args:
            at_once: although it is left alone after failures.
        """
        if self._link is not None and not self._link.closed:
            return self._link
        resting = time.monotonic() < self._rest_until
        if self.cloud is None or (resting and (self.refused or not at_once)):
            raise LinkError(
                "a request",
                rule="there is no connection to the cloud now",
                where="trimtab edge",
                remedy="see whether it is up",
            )
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Link:
        assert self.cloud is not None
        try:
            link = await Link.open(
                self._halves, self.cloud.host, self.cloud.port, tls=self.cloud.tls,
                name=self.cloud.name, within_s=self._patience.connect_s,
            )  # fmt: skip
            try:
                if not link.alike and self._load is not None:
                    await self._compare(link, self._load)
                elif not link.alike:
                    _LOG.warning("the cloud has another engine; not compared")
            except BaseException:
                await link.close()
                raise
        except LinkError as error:
            self.failed(str(error))
            raise
        except DataError as error:
            # What listens there now need not be what does later.
            self._rest_until = time.monotonic() + self._patience.most_rest_s
            self._controller.connected = False
            if self.refused is None:
                _LOG.error("%s", error)
            self.refused = error
            raise LinkError(
                error.asked, rule=error.rule, where=error.where, remedy=error.remedy
            ) from error
        except Exception as error:
            # Whatever it is: requests do not depend on it, and the next try may do.
            _LOG.exception("connecting")
            self.failed(str(error))
            raise LinkError(
                "a connection to the cloud",
                rule=f"{type(error).__name__}: {error}",
                where="trimtab edge",
                remedy="see the log",
            ) from error
        self._counts["connections"] += 1
        self._link = link
        rtt = min([await link.probe(0, within_s=self._patience.connect_s)
                   for _ in range(3)])  # fmt: skip
        self._controller.see_rtt(rtt, at_s=time.monotonic())
        self._works()
        self._rest_until = 0.0
        self.refused = None
        self._controller.connected = True
        return link

    async def _compare(
        self, link: Link, load: Callable[[int], Awaitable[Executor]]
    ) -> None:
        """Refuse a cloud whose engine gives other results.

        Raises:
            DataError: it does.
        """
        values = {
            Ref(name): each for name, each in example_values(self._halves.graph).items()
        }
        names = [each.name for each in self._halves.codecs]
        if "raw" not in names:
            _LOG.warning("the cloud has another engine; no codec to compare it by")
            return
        raw = names.index("raw")
        for cut in {0, len(self._halves.cuts) // 2}:
            run = await load(self._halves.end)
            crossing = await asyncio.to_thread(self._halves.head, values, cut, run)
            mine = await asyncio.to_thread(self._halves.tail, crossing, cut, run)
            asked = self._halves.encode(crossing, cut, raw)
            reply = await link.ask(asked, within_s=30.0)
            for ref, each in reply.values.items():
                if not torch.allclose(
                    each.double(), mine[ref].double(), rtol=_CLOSE, atol=_CLOSE
                ):
                    worst = float((each.double() - mine[ref].double()).abs().max())
                    raise DataError(
                        f"results of the cloud from cut {self._halves.cuts[cut].key}",
                        rule=f"they differ from the edge's by {worst:.3g}",
                        where="handshake",
                        remedy="run the same version of PyTorch on both sides",
                    )

    def _works(self) -> None:
        self._failures = self._rests = 0

    def failed(self, why: str) -> None:
        """Take that the cloud did not answer; leave it alone after some times."""
        now = time.monotonic()
        if now < self._rest_until:  # one stall, and all requests that it held up
            return
        self._failures += 1
        if self._failures < self._patience.failures and (
            self._link is not None and not self._link.closed
        ):
            return
        rest = min(
            self._patience.most_rest_s,
            self._patience.rest_s * 2.0 ** min(self._rests, 10),
        )
        self._failures, self._rests = 0, self._rests + 1
        self._rest_until = now + rest
        if self._controller.connected:
            _LOG.warning("the cloud is left alone for %.1f s: %s", rest, why)
        self._controller.connected = False

    async def keep(self) -> None:
        """Connect again, probe and measure, as long as the edge works."""
        pinged = 0.0
        while True:
            now = time.monotonic()
            try:
                if now >= self._rest_until:
                    link = await self._connected()
                    if not self._controller.connected or now - pinged > _PING_S:
                        pinged = now
                        rtt = await link.probe(0, within_s=self._patience.connect_s)
                        self._controller.see_rtt(rtt, at_s=now)
                        self._controller.connected = True
                        self._works()
                    size = self._controller.probe_due(now)
                    if size:
                        took = await self._probed(link, size)
                        self._controller.see_probe(size, took, at_s=time.monotonic())
            except LinkError as error:
                if self.refused is None:
                    self.failed(str(error))
                await self._left()
            except Exception as error:
                # Whatever it is: without this task the cloud would never be back.
                _LOG.exception("probing")
                self.failed(str(error))
                await self._left()
            await asyncio.sleep(_TICK_S)

    async def _probed(self, link: Link, size: int) -> float | None:
        """Return the time of a probe; None where the cloud takes no more bytes now."""
        try:
            return await link.probe(size, within_s=self._patience.connect_s)
        except OverloadedError:
            self._counts["overloaded"] += 1
            return None

    async def _left(self) -> None:
        if self._link is not None:
            with contextlib.suppress(Exception):
                await self._link.close()
            self._link = None

    async def close(self) -> None:
        """End it, and what is being opened."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._link is not None:
            await self._link.close()
