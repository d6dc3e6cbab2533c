"""Several hosts: which one a query goes to, and how many there are to be.

Knows no Ray, no clock and no socket. `Outstanding` is the book of a router: a query
goes where the fewest items are not answered yet, since a query of a thousand items is
a thousand times the work of one, which a count of requests does not see. `Autoscaler`
is told at each look what all hosts have shown, and says how many there are to be.

Scaling is careful on purpose. Growing and shrinking have thresholds of their own, far
apart, and each has to hold for several looks in a row; after a change nothing is judged
until what was seen before it has passed; and whoever shrank and had to grow again waits
twice as long the next time, so that under a steady load changes become rare.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, Literal, TypeVar, final

from trimtab.errors import UsageError

__all__ = ["Autoscaler", "Look", "Outstanding", "Scaling", "Step", "parse_replicas"]

_MOST_REPLICAS: Final = 1_000
_MOST_PATIENCE: Final = 64  # times the looks of `Scaling.down_looks`

Host = TypeVar("Host", bound=Hashable)


@final
class Outstanding(Generic[Host]):
    """Items that hosts have not answered yet, as their router knows it.

    Example:
        >>> book = Outstanding()
        >>> book.take("q1", book.ranked(["a", "b"])[0], items=900)
        >>> book.take("q2", book.ranked(["a", "b"])[0], items=10)
        >>> book.take("q3", book.ranked(["a", "b"])[0], items=10)
        >>> book.items("a"), book.items("b")
        (900, 20)
    """

    def __init__(self) -> None:
        self._open: dict[Hashable, tuple[Host, int]] = {}  # by query
        self._items: dict[Host, int] = {}
        self._last: dict[Host, int] = {}  # when it was given a query, by their count
        self._count = 0

    def items(self, host: Host) -> int:
        """Return the items that a host has not answered."""
        return self._items.get(host, 0)

    @property
    def queries(self) -> int:
        """How many are not answered."""
        return len(self._open)

    def ranked(self, hosts: Sequence[Host]) -> list[Host]:
        """Return hosts, the one with the fewest items first.

        Of equal ones the first is who has waited longest for a query.
        """
        return sorted(
            hosts, key=lambda each: (self.items(each), self._last.get(each, 0))
        )

    def take(self, query: Hashable, host: Host, items: int) -> None:
        """Write down that a query went to a host; one that moves leaves the other."""
        self.done(query)
        self._count += 1
        self._open[query] = (host, items)
        self._items[host] = self.items(host) + items
        self._last[host] = self._count

    def move(self, query: Hashable, host: Host) -> None:
        """Write down that an open query went to another host than was thought."""
        if query in self._open and self._open[query][0] != host:
            self.take(query, host, self._open[query][1])

    def done(self, query: Hashable) -> None:
        """Cross out a query, however it ended; an unknown one is none."""
        host, items = self._open.pop(query, (None, 0))
        if host is None:
            return
        self._items[host] -= items

    def keep(self, hosts: Collection[Host]) -> None:
        """Forget others than these, unless they have open queries: they are gone."""
        for each in [each for each in self._last if each not in hosts]:
            if not self._items[each]:
                del self._last[each], self._items[each]


# How many


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How an autoscaler decides. A look is about a second.

    Attributes:
        target_s: that the tail is to keep.
        least: hosts.
        most: hosts.
        up_frac: headroom, as a share of the target, below which there are too few.
        busy_frac: share of their time that workers may be busy, or there are too few.
        down_frac: headroom that one host less must leave, as it is predicted.
        down_busy_frac: share of their time that workers would then be busy, at most.
        up_looks: in a row that ask for more, until there are more.
        down_looks: in a row that ask for fewer, until there are fewer.
        calm_looks: after a change that are not judged.

    Raises:
        UsageError: a number outside of its limits, or thresholds that meet.
    """

    target_s: float
    least: int = 1
    most: int = 1
    up_frac: float = 0.1
    busy_frac: float = 0.85
    down_frac: float = 0.4
    down_busy_frac: float = 0.6
    up_looks: int = 3
    down_looks: int = 30
    calm_looks: int = 10

    def __post_init__(self) -> None:
        if (
            not 1 <= self.least <= self.most <= _MOST_REPLICAS
            or not 0 < self.target_s < math.inf
            or not 0 <= self.up_frac < self.down_frac < 1
            or not 0 < self.down_busy_frac < self.busy_frac <= 1
            or min(self.up_looks, self.down_looks) < 1
            or self.calm_looks < 0
        ):
            raise UsageError(
                f"scaling with {self}",
                rule=f"replicas are 1 to {_MOST_REPLICAS}, looks at least 1, and what "
                "asks for fewer is stricter than what asks for more",
                where="trimtab.serve.cluster.Scaling",
                remedy="leave out what need not differ",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What all hosts together have shown lately.

    Attributes:
        hosts: that answer.
        tail_s: percentile of the target, of the host where it is largest; None where
            nothing was answered.
        shed: queries that were refused since the last look.
        busy_frac: share of their time that workers were busy, the mean.
    """

    hosts: int
    tail_s: float | None
    shed: float
    busy_frac: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a look has led to.

    Attributes:
        action: what was done.
        hosts: that there are to be from now on.
        headroom_frac: of the target that was left.
        why: in words.
    """

    action: Literal["keep", "grow", "shrink"]
    hosts: int
    headroom_frac: float
    why: str


@final
class Autoscaler:
    """Says look by look how many hosts there are to be.

    Args:
        scaling: how it decides.

    Attributes:
        patience: looks in a row until there are fewer, now.
    """

    def __init__(self, scaling: Scaling) -> None:
        self.scaling = scaling
        self.patience = scaling.down_looks
        self._ups = self._downs = 0
        self._calm = 0
        self._since_shrink: int | None = None

    def observe(self, look: Look) -> Step:
        """Take what was seen; return how many hosts there are to be."""
        scaling = self.scaling
        tail_s = look.tail_s or 0.0
        headroom = 1 - tail_s / scaling.target_s
        if self._since_shrink is not None:
            self._since_shrink += 1
        keep = Step(
            action="keep",
            hosts=min(max(look.hosts, scaling.least), scaling.most),
            headroom_frac=headroom,
            why="",
        )
        if keep.hosts != look.hosts:  # one is starting, ending, or lost
            self._ups = self._downs = 0
            return replace(keep, why=f"{look.hosts} answer, the limits are others")
        if self._calm:
            self._calm -= 1
            return replace(keep, why="it was changed a moment ago")
        more = self._asks_for_more(look, headroom)
        fewer = "" if more else self._asks_for_fewer(look, tail_s)
        self._ups = self._ups + 1 if more else 0
        self._downs = self._downs + 1 if fewer else 0
        if self._ups >= scaling.up_looks and look.hosts < scaling.most:
            wanted = math.ceil(
                look.hosts * min(look.busy_frac, 1.0) / scaling.busy_frac
            )
            hosts = min(max(look.hosts + 1, wanted), scaling.most)
            self._grew()
            return replace(keep, action="grow", hosts=hosts, why=more)
        if self._downs >= self.patience:
            self._changed()
            self._since_shrink = 0
            return replace(keep, action="shrink", hosts=look.hosts - 1, why=fewer)
        return replace(keep, why=more or fewer or "enough, and none to spare")

    def _asks_for_more(self, look: Look, headroom: float) -> str:
        """Return why there are too few, or nothing."""
        if look.shed > 0:
            return f"{look.shed:.3g} queries were refused"
        if headroom < self.scaling.up_frac:
            return f"{100 * headroom:.0f} % of the target are left"
        if look.busy_frac > self.scaling.busy_frac:
            return f"workers are busy {100 * look.busy_frac:.0f} % of the time"
        return ""

    def _asks_for_fewer(self, look: Look, tail_s: float) -> str:
        """Return why one is to spare, or nothing.

        Fewer hosts are busier in proportion. A tail is taken to grow as waiting does in
        a queue with one server, by ``(1 - busy) / (1 - busier)``: with many workers it
        grows later, so that this errs to the careful side.
        """
        scaling = self.scaling
        if look.hosts <= scaling.least:
            return ""
        busier = look.busy_frac * look.hosts / (look.hosts - 1)
        if busier > scaling.down_busy_frac:
            return ""
        predicted_s = tail_s * (1 - look.busy_frac) / (1 - busier)
        left = 1 - predicted_s / scaling.target_s
        if left < scaling.down_frac:
            return ""
        return f"one host less would leave {100 * left:.0f} % of the target"

    def _grew(self) -> None:
        """Learn from a shrinking that did not last."""
        scaling = self.scaling
        lasted = self._since_shrink
        hurried = scaling.calm_looks + scaling.up_looks
        if lasted is not None and lasted <= max(2 * hurried, self.patience):
            most = _MOST_PATIENCE * scaling.down_looks
            self.patience = min(2 * self.patience, most)
        elif lasted is not None:  # the load has grown since
            self.patience = scaling.down_looks
        self._since_shrink = None
        self._changed()

    def _changed(self) -> None:
        self._ups = self._downs = 0
        self._calm = self.scaling.calm_looks


def parse_replicas(text: str) -> tuple[int, int]:
    """Return the least and the largest number of replicas.

    Args:
        text: ``3`` for as many, ``1..4`` for as many as it takes.

    Raises:
        UsageError: it is neither.

    Example:
        >>> parse_replicas("2"), parse_replicas("1..4")
        ((2, 2), (1, 4))
    """
    least, dots, most = text.partition("..")
    parts = (least, most if dots else least)
    if all(each.isascii() and each.isdecimal() and len(each) < 5 for each in parts):
        found = int(parts[0]), int(parts[1])
        if 1 <= found[0] <= found[1] <= _MOST_REPLICAS:
            return found
    raise UsageError(
        f"{text[:40]!r} replicas",
        rule=f"a number from 1 to {_MOST_REPLICAS}, or two as in 1..4",
        where="--replicas",
        remedy="give 2, or 1..4 to have as many as the load takes",
    )
