"""The layers of an edge follow the cut, as its mode says.

The controller chooses among the cuts whose layers are in memory, on both sides, and
says which it would rather have; that one is made ready while requests go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import LinkError, TrimtabError
from trimtab.graph.execute import Executor
from trimtab.partition.controller import Controller, Decision
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.keeping import Mode
from trimtab.partition.live.link import Link

__all__ = ["Layers"]

_LOG = logging.getLogger(__name__)
_WITHIN_S = 30.0  # that a cloud may take to load


@final
class Layers:
    """Decides with the controller, and has the layers in memory that it needs.

    Args:
        halves: the network.
        controller: chooses cuts.
        mode: how layers follow.
        link: returns the connection, or None.

    Attributes:
        paused_s: that requests waited for layers.
    """

    def __init__(
        self,
        halves: Halves,
        controller: Controller,
        mode: Mode,
        link: Callable[[], Link | None],
    ) -> None:
        self._keeping, self._controller, self.mode = halves.keeping, controller, mode
        self._end, self._link = halves.end, link
        self._most = int(controller.space.positions.max())  # that any cut needs here
        self._numbers = {cut.position: at for at, cut in enumerate(halves.cuts)}
        self._moving: asyncio.Task[None] | None = None
        self._gate = asyncio.Lock()
        self.paused_s = 0.0

    async def decide(self, at_s: float) -> tuple[Decision, Executor]:
        """Return what a request takes, and what runs its part here.

        Raises:
            BundleError: layers cannot be read.
        """
        positions = self._controller.space.positions
        link = self._link()
        if self.mode == "shared" and (link is None or link.shared):
            return self._controller.decide(at_s), self._keeping.run
        if self.mode == "pause":
            return await self._paused(at_s)
        decision = self._controller.decide(
            at_s, here=self._here(), refused=() if link is None else link.refused
        )
        run = self._keeping.run
        if run.part.stop < positions[decision.index]:  # nothing that is here will do
            run = await self.load(int(positions[decision.index]))
        self._follow(decision)
        return decision, run

    async def load(self, stop: int) -> Executor:
        """Return what runs the nodes before a position, once they are in memory.

        Raises:
            BundleError: they cannot be read.
        """
        run = self._keeping.run
        if run.part.stop >= stop:
            return run
        begun = time.monotonic()
        run = await asyncio.to_thread(self._keeping.keep, range(stop))
        self.paused_s += time.monotonic() - begun
        return run

    def close(self) -> None:
        """Make nothing ready any more."""
        if self._moving is not None:
            self._moving.cancel()

    def _here(self) -> NDArray[np.bool_]:
        """Return which choices have their layers in memory, on both sides."""
        space, link = self._controller.space, self._link()
        here = space.positions <= self._keeping.part.stop
        if link is not None and not link.shared:
            here = here & (space.local | (space.positions >= link.keeps))
        return np.asarray(here)

    def _follow(self, decision: Decision) -> None:
        """Make ready what the controller would rather have."""
        if self._moving is not None and not self._moving.done():
            return
        positions = self._controller.space.positions
        wanted = int(positions[decision.wanted])
        stop = self._most if self.mode == "shared" else wanted
        if self.mode == "standby":
            stop = max(wanted, int(positions[decision.second]))
        link = self._link()
        away = (
            link is not None
            and not link.shared
            and wanted < self._end
            and wanted not in link.refused
            and link.keeps != wanted
        )
        if stop != self._keeping.part.stop or away:
            self._moving = asyncio.create_task(
                self._move(stop, wanted if away else None)
            )

    async def _move(self, stop: int, position: int | None) -> None:
        try:
            await asyncio.to_thread(self._keeping.keep, range(stop))
        except TrimtabError as error:  # those that are here go on; then once more
            _LOG.warning("layers before %d: %s", stop, error)
            return
        if position is not None:
            await self._prepare(position)

    async def _prepare(self, position: int) -> None:
        link = self._link()
        if link is None or link.shared or position not in self._numbers:
            return
        try:
            await link.prepare(self._numbers[position], within_s=_WITHIN_S)
        except LinkError as error:
            _LOG.warning("cut at %d: %s", position, error)
            if not link.closed:  # it would not, and does not change its mind
                link.refused.add(position)

    async def _paused(self, at_s: float) -> tuple[Decision, Executor]:
        """Stop for another cut: the way of old, to be compared with."""
        async with self._gate:
            controller = self._controller
            link = self._link()
            decision = controller.decide(
                at_s, refused=() if link is None else link.refused
            )
            stop = int(controller.space.positions[decision.index])
            if stop == self._keeping.part.stop:
                return decision, self._keeping.run
            begun = time.monotonic()
            run = await asyncio.to_thread(
                self._keeping.keep, range(stop), empty_first=True
            )
            await self._prepare(stop)
            took = time.monotonic() - begun
            self.paused_s += took
            # What the next change has to be worth.
            controller.settings = replace(controller.settings, switch_s=took)
            return decision, run
