"""What a live page shows, as data: the page draws it without knowing who told it.

The same tiles are what Prometheus scrapes, so that a number is counted once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, Literal, final

from trimtab.bundle.section import Bars, Table

__all__ = [
    "COLOURS",
    "Block",
    "Entry",
    "Group",
    "Log",
    "Span",
    "State",
    "Strip",
    "Target",
    "Tile",
    "Tone",
    "Trend",
]

Tone = Literal["plain", "good", "warn", "bad"]
COLOURS: Final = 6
"""How many `live.css` has; colour-blind people tell them apart, too."""
_DIGITS: Final = 5  # of a number that is sent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number.

    Attributes:
        name: stands above it.
        value: in its unit; None where it is not known yet.
        unit: a base unit of `trimtab.units.format_value`.
        note: a word or two below it.
        metric: its name when it is scraped, without prefix and unit; "" for none.
        counter: whether it only grows.
        labels: of the metric, name and value.
        tone: how it stands.
    """

    name: str
    value: float | None
    unit: str = "count"
    note: str = ""
    metric: str = ""
    counter: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    tone: Tone = "plain"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tiles under a heading."""

    title: str
    tiles: tuple[Tile, ...]
    kind: Literal["group"] = "group"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A value to compare with, drawn as a line across."""

    name: str
    value: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Quantities over the time until now.

    Attributes:
        title: stands above.
        unit: of all lines, as of a tile.
        times_s: of the points, before now: not above 0, rising.
        lines: name and values, one a point; None leaves a gap.
        stacked: whether they add up.
        log: whether the axis is logarithmic.
        target: to compare with.
    """

    title: str
    unit: str
    times_s: tuple[float, ...]
    lines: tuple[tuple[str, tuple[float | None, ...]], ...]
    stacked: bool = False
    log: bool = False
    target: Target | None = None
    kind: Literal["trend"] = "trend"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time in which something was the same.

    Attributes:
        name: of it.
        begin_s: seconds before now, not above 0.
        end_s: likewise, not below `begin_s`.
        colour: index in the colours of the page, see `COLOURS`, the same for the same
            name.
    """

    name: str
    begin_s: float
    end_s: float
    colour: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """What was in force when, over the same time as trends.

    Attributes:
        title: stands above.
        spans: in order.
    """

    title: str
    spans: tuple[Span, ...]
    kind: Literal["strip"] = "strip"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that changed or happened.

    Attributes:
        when_s: seconds before now, not above 0.
        what: in a few words.
        why: a sentence or two.
        times: how often, in a row.
        tone: of it.
    """

    when_s: float
    what: str
    why: str = ""
    times: int = 1
    tone: Tone = "plain"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What changed, when, and why.

    Attributes:
        title: stands above.
        entries: the newest first.
    """

    title: str
    entries: tuple[Entry, ...]
    kind: Literal["log"] = "log"


Block = Group | Trend | Strip | Bars | Table | Log


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a page shows now.

    Attributes:
        status: in a few words.
        tone: of it.
        heading: above the headline.
        headline: what is in force.
        reasons: why: sentences.
        blocks: in order.
    """

    status: str
    tone: Tone = "plain"
    heading: str = ""
    headline: str = ""
    reasons: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All of them."""
        return tuple(
            tile
            for block in self.blocks
            if isinstance(block, Group)
            for tile in block.tiles
        )

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it: five digits, no number that is not finite.

        Example:
            >>> tile = Tile(name="a", value=1 / 3)
            >>> group = Group(title="", tiles=(tile,))
            >>> found = State(status="up", blocks=(group,)).record()
            >>> found["blocks"][0]["tiles"][0]["value"]
            0.33333
        """
        found: dict[str, Any] = _plain(self)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, float):  # most are, hence first
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value
