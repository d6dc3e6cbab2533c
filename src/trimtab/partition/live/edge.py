"""The edge's side: every request answered once, whatever the link does.

A request runs to the cut that the controller chooses, sends what crosses, and keeps it
until the results are back: if these do not come, the edge runs the rest from where it
stopped. An answer that is late is hedged: the rest runs here as well, and what is first
counts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Any, TypeVar, final

from trimtab.errors import DataError, LinkError, OverloadedError, UsageError
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Controller, Decision, Seen
from trimtab.partition.live.connection import Address, Connection, Patience
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.keeping import Mode
from trimtab.partition.live.layers import Layers
from trimtab.partition.live.link import Reply

__all__ = ["Edge"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


@final
class Edge:
    """Answers requests, with the cloud or without it.

    Args:
        halves: the network; its cuts have all positions of the controller's space but
            the end.
        controller: chooses cuts.
        cloud: where it is; None for none.
        patience: how long it waits.
        whole: whether the edge may run all of the network; without, a request that
            cannot reach the cloud ends with an error.
        mode: which layers it keeps in memory, and how they follow the cut.

    Attributes:
        connection: to the cloud.
        counts: of what happened, by name.

    Raises:
        UsageError: the controller knows a cut that the network has not.
    """

    def __init__(
        self,
        halves: Halves,
        controller: Controller,
        *,
        cloud: Address | None = None,
        patience: Patience | None = None,
        whole: bool = True,
        mode: Mode = "shared",
    ) -> None:
        self.halves, self.controller = halves, controller
        self.patience, self.whole = patience or Patience(), whole
        self.counts: dict[str, int] = dict.fromkeys(
            ("requests", "answers", "remote", "local", "fallback", "hedged",
             "hedge_won", "retried", "overloaded", "failed", "connections"), 0,
        )  # fmt: skip
        self._numbers = {cut.position: at for at, cut in enumerate(halves.cuts)}
        codecs = [each.name for each in halves.codecs]
        space = controller.space
        for index, cut in enumerate(space.cuts):
            if space.local[index]:
                continue
            if cut.position not in self._numbers or space.codecs[index] not in codecs:
                raise UsageError(
                    f"cut {cut.key} with {space.codecs[index]}",
                    rule="the bundle was not made with it",
                    where="trimtab edge",
                    remedy="make the bundle again with this cut and codec",
                )
        self._codecs = {name: at for at, name in enumerate(codecs)}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="edge")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="edge", daemon=True
        )
        self._layers = Layers(halves, controller, mode, lambda: self.connection.link)
        self.connection = Connection(
            halves, controller, cloud, self.patience, self.counts,
            load=self._layers.load if whole else None,
        )  # fmt: skip
        self._keeper: Future[None] | None = None
        self._asked: set[asyncio.Task[Any]] = set()
        self._ending = threading.Lock()
        self._closed = False

    # For callers, from any thread

    def __enter__(self) -> Edge:
        """Start, and look for the cloud for a while."""
        self.start()
        if self.connection.cloud is not None:
            self.connected(wait_s=self.patience.connect_s)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.close()

    def start(self) -> None:
        """Begin; the cloud is looked for, and requests are answered without it."""
        self._thread.start()
        if self.connection.cloud is not None:
            self._keeper = asyncio.run_coroutine_threadsafe(
                self.connection.keep(), self._loop
            )

    def connected(self, *, wait_s: float = 0.0) -> bool:
        """Return whether the cloud is there, within some time."""
        until = time.monotonic() + wait_s
        while time.monotonic() < until and self.connection.refused is None:
            if self.controller.connected:
                return True
            time.sleep(0.01)
        return self.controller.connected

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Return what the network returns.

        Raises:
            ExecutionError: a tensor has another shape than the network takes.
            LinkError: the cloud is needed and cannot be reached.
        """
        return self.submit(*args, **kwargs).result()

    def submit(self, *args: object, **kwargs: object) -> Future[Any]:
        """Return a future of what the network returns.

        Raises:
            ExecutionError: a tensor has another shape than the network takes.
            UsageError: the edge was closed, or has not begun.
        """
        values = self.halves.run.bind(*args, **kwargs)
        with self._ending:  # what is taken is answered
            if self._closed or not self._thread.is_alive():
                raise UsageError(
                    "a request",
                    rule="the edge was closed, or has not begun",
                    where="trimtab edge",
                    remedy="ask within: with edge:",
                )
            return asyncio.run_coroutine_threadsafe(self._answer(values), self._loop)

    def close(self) -> None:
        """End: what is asked for is answered first."""
        with self._ending:
            if self._closed:
                return
            self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
        self._loop.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _shut(self) -> None:
        # Each ends: by the cloud, by a hedge or a limit of time, or with an error.
        await asyncio.gather(*self._asked, return_exceptions=True)
        self._layers.close()
        await self.connection.close()

    def state(self) -> dict[str, Any]:
        """Return counts, the cut in force and what is assumed of the link."""
        return self._in_loop(self._state)

    def decided(self, since: int) -> tuple[Conditions, list[Decision]]:
        """Return what is assumed now, and the decisions from a number on."""

        def read() -> tuple[Conditions, list[Decision]]:
            log = reversed(self.controller.log)
            found = list(takewhile(lambda each: each.number >= since, log))
            return self.controller.conditions(time.monotonic()), found[::-1]

        return self._in_loop(read)

    def _in_loop(self, read: Callable[[], T]) -> T:
        """Read what requests change, between two of their steps; from any thread."""
        if not self._loop.is_running() or threading.current_thread() is self._thread:
            return read()

        async def called() -> T:
            return read()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(5.0)

    def _state(self) -> dict[str, Any]:
        at = self.controller.conditions(time.monotonic())
        last = self.controller.log[-1] if self.controller.log else None
        return {
            **self.controller.summary(),
            **self.counts,
            "connected": self.controller.connected,
            "refused": str(self.connection.refused or ""),
            "cut": last.name if last else "",
            "codec": last.codec if last else "",
            "uplink_bytes_per_s": at.uplink_bytes_per_s,
            "rtt_s": at.rtt_s,
            "edge_slowdown": at.edge_slowdown,
            "cloud_slowdown": at.cloud_slowdown,
            "queue_s": at.queue_s,
            "mode": self._layers.mode,
            "kept_bytes": self.halves.keeping.bytes,
            "loads": self.halves.keeping.loads,
            "paused_s": self._layers.paused_s,
        }

    # A request

    async def _in_thread(self, call: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    async def _answer(self, values: Mapping[Ref, Any]) -> Any:
        begun = time.monotonic()
        self.counts["requests"] += 1
        task = asyncio.current_task()
        assert task is not None
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        space = self.controller.space
        try:
            decision, run = await self._layers.decide(begun)
            if space.local[decision.index]:
                found, seen = await self._local(values, run, begun)
            else:
                found, seen = await self._divided(values, run, decision, begun)
        except BaseException:
            self.counts["failed"] += 1
            raise
        self.controller.see(decision, seen, at_s=time.monotonic())
        self.counts["answers"] += 1
        return self.halves.run.results(found)

    async def _local(
        self, values: Mapping[Ref, Any], run: Executor, begun: float
    ) -> tuple[Mapping[Ref, Any], Seen]:
        found, seconds = await self._in_thread(_timed, run.run, values)
        self.counts["local"] += 1
        return found, Seen(
            edge_s=seconds, sent_bytes=0, link_s=None, cloud_s=None, queue_s=0.0,
            latency_s=time.monotonic() - begun,
        )  # fmt: skip

    async def _divided(
        self,
        values: Mapping[Ref, Any],
        run: Executor,
        decision: Decision,
        begun: float,
    ) -> tuple[Mapping[Ref, Any], Seen]:
        space = self.controller.space
        cut = self._numbers[int(space.positions[decision.index])]
        codec = self._codecs[decision.codec]
        crossing, head_s = await self._in_thread(
            _timed, self.halves.head, values, cut, run
        )
        outgoing, coded_s = await self._in_thread(
            _timed, self.halves.encode, crossing, cut, codec
        )
        _, link, cloud = space.parts(decision.conditions)
        rest = float(link[decision.index] + cloud[decision.index])
        remote = asyncio.create_task(
            self.connection.ask(
                outgoing, within_s=max(self.patience.reply_s, 10 * rest)
            )
        )
        wait = max(self.patience.hedge_s, self.patience.hedge * rest)
        hedge = self.whole and run.part.stop == self.halves.end
        here: asyncio.Task[Any] | None = None
        try:
            done, _ = await asyncio.wait({remote}, timeout=wait if hedge else None)
            if not done:
                self.counts["hedged"] += 1
                here = asyncio.create_task(self._rest(crossing, cut))
                await asyncio.wait({remote, here}, return_when=asyncio.FIRST_COMPLETED)
                if here.done() and here.exception() is not None:
                    await asyncio.wait({remote})  # the cloud may still answer
            found, reply = await self._first(remote, here, crossing, cut)
        finally:  # who asked may have left
            remote.cancel()
            if here is not None:
                here.cancel()
        sent = sum(map(len, outgoing.payloads))
        return found, Seen(
            edge_s=head_s + coded_s,
            sent_bytes=sent,
            link_s=None
            if reply is None
            else max(1e-6, reply.took_s - reply.cloud_s - reply.queue_s),
            cloud_s=None if reply is None else reply.cloud_s,
            queue_s=_refused_s(remote) if reply is None else reply.queue_s,
            latency_s=time.monotonic() - begun,
            overtaken=remote.cancelled(),
        )

    async def _first(
        self,
        remote: asyncio.Task[Reply],
        here: asyncio.Task[Any] | None,
        crossing: Mapping[Ref, Any],
        cut: int,
    ) -> tuple[Mapping[Ref, Any], Reply | None]:
        """Return the answer that is there first; the other is withdrawn."""
        if remote.done():
            try:
                reply = remote.result()
            except Exception as error:
                if not isinstance(error, LinkError | DataError):
                    _LOG.exception("asking the cloud")
                if not self.whole:
                    raise _unreachable(error) from error
                self.counts["fallback"] += 1
                found = await (here or self._rest(crossing, cut))
                return found, None
            if here is not None:
                here.cancel()
                await asyncio.gather(here, return_exceptions=True)
            self.counts["remote"] += 1
            return reply.values, reply
        assert here is not None
        self.counts["hedge_won"] += 1
        remote.cancel()
        await asyncio.gather(remote, return_exceptions=True)
        self.connection.failed("no answer in time")
        return here.result(), None

    async def _rest(self, crossing: Mapping[Ref, Any], cut: int) -> Any:
        run = await self._layers.load(self.halves.end)
        found: Any = await self._in_thread(self.halves.tail, crossing, cut, run)
        return found


def _timed(call: Any, *args: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    found = call(*args)
    return found, time.perf_counter() - begun


def _refused_s(remote: asyncio.Task[Reply]) -> float:
    """Return for how long the cloud has no room, as it says; 0 where it does not."""
    error = None if remote.cancelled() else remote.exception()
    return error.retry_after_s if isinstance(error, OverloadedError) else 0.0


def _unreachable(error: Exception) -> LinkError:
    parts = {
        "rule": f"the cloud is needed for it: {error}",
        "where": "trimtab edge",
        "remedy": "see whether the cloud is up, or let the edge run the whole network",
    }
    if isinstance(error, OverloadedError):
        wait = error.retry_after_s
        return OverloadedError("a request", **parts, retry_after_s=wait)
    return LinkError("a request", **parts)
