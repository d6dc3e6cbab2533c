"""Texts, units and axes that the kinds of figures share."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from trimtab.bundle.section import Cell
from trimtab.units import format_value

__all__ = [
    "Json",
    "Scaled",
    "cell_text",
    "escape",
    "layout_of",
    "name_axis",
    "scaled",
    "shorten",
    "value_axis",
]

Json = dict[str, Any]

_CLEAR: Final = "rgba(0,0,0,0)"
_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
# An invisible tick keeps labels off the axis.
_GAP: Final = {"ticks": "outside", "ticklen": 5, "tickcolor": _CLEAR}
_PREFIXES: Final = (
    *(10.0 ** (3 * power) for power in range(-3, 6)),
    *(2.0 ** (10 * power) for power in range(1, 5)),
    60.0,
    0.01,
)


def escape(text: str) -> str:
    """Return the text so that neither HTML nor plotly.js reads markup in it.

    Example:
        >>> escape("a<b> & 'c'")
        'a&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def shorten(text: str, width: int) -> str:
    """Return the text with its middle left out where it is longer than `width`.

    Example:
        >>> shorten("features.denseblock4.denselayer16.conv2", 20)
        'feature…ayer16.conv2'
    """
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 5
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def cell_text(cell: Cell, unit: str = "") -> str:
    """Return a cell as a reader wants it, not yet escaped.

    Example:
        >>> cell_text(0.002, "s"), cell_text(None), cell_text(True), cell_text(1024)
        ('2.00 ms', '-', 'yes', '1024')
    """
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return cell
    if not math.isfinite(cell):
        return str(cell)
    if unit:
        return format_value(cell, unit)
    return str(cell) if isinstance(cell, int) else f"{cell:.4g}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """An axis in the prefix that suits its values.

    Attributes:
        title: with the unit, escaped.
        factor: what to divide a value in the base unit by.
    """

    title: str
    factor: float

    def values(
        self, values: Iterable[float], *, log: bool = False
    ) -> list[float | None]:
        """Return the values on this axis; None where there is nothing to draw.

        Example:
            >>> Scaled(title="t [ms]", factor=0.001).values((0.5, float("nan")))
            [500.0, None]
        """
        return [
            value / self.factor
            if math.isfinite(value) and (value > 0 or not log)
            else None
            for value in values
        ]


def scaled(title: str, values: Sequence[float], unit: str) -> Scaled:
    """Return the axis; `units.format_value` of the largest value chooses the prefix.

    Example:
        >>> scaled("latency", [0.002, 0.012], "s")
        Scaled(title='latency [ms]', factor=0.001)
    """
    top = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not unit or not top:
        return Scaled(title=escape(f"{title} [{unit}]" if unit else title), factor=1.0)
    number, _, name = format_value(top, unit).partition(" ")
    if float(number) == 0:  # rounded away: there is no smaller prefix
        top = 1.0
        number, _, name = format_value(top, unit).partition(" ")
    ratio = top / float(number)  # the prefix, but for what rounding took off
    factor = min(_PREFIXES, key=lambda prefix: abs(math.log(prefix / ratio)))
    return Scaled(
        title=escape(f"{title} [{name}]" if name else title),
        factor=factor,
    )


def layout_of(height: int) -> Json:
    """Return what the layouts of all kinds have in common.

    Example:
        >>> layout_of(300)["height"]
        300
    """
    return {
        "autosize": True,
        "height": height,
        "margin": {"l": 12, "r": 20, "t": 16, "b": 12},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": _FONT, "size": 13},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": "zoom",
    }


def value_axis(title: str, values: Sequence[float] = (), scale: str = "linear") -> Json:
    """Return an axis of numbers; whole numbers close together get whole ticks.

    Args:
        title: escaped already.
        values: as drawn on the axis, after scaling.
        scale: ``linear`` or ``log``.

    Example:
        >>> value_axis("batch", (1, 2, 8), "log")["ticktext"]
        ['1', '2', '5', '10']
    """
    axis: Json = {
        "title": {"text": title, "standoff": 10},
        "type": scale,
        "automargin": True,
        "exponentformat": "power" if scale == "log" else "SI",
        "zeroline": False,
    } | _GAP
    finite = [value for value in values if math.isfinite(value)]
    if scale == "log":
        axis |= _log_ticks([value for value in finite if value > 0])
    elif finite and all(float(value).is_integer() for value in finite):
        span = max(finite) - min(finite)
        if 0 < span <= 10:
            axis["dtick"] = 1
    return axis


def name_axis(
    axis: str, names: Sequence[str], title: str = "", most: int = 10**6
) -> tuple[Json, Json]:
    """Return an axis of names at 0, 1 ... and what changes on a narrow page.

    Positions are numbers, because plotly.js would merge two bars of one name.

    Args:
        axis: ``xaxis`` or ``yaxis``; the first name is left or on top.
        names: not yet escaped.
        title: not yet escaped.
        most: so many names are written at most, evenly spread.

    Example:
        >>> wide, narrow = name_axis("yaxis", ("conv", "fc"))
        >>> wide["ticktext"], narrow["yaxis.ticktext"]
        (['conv', 'fc'], ['conv', 'fc'])
    """
    size = len(names)
    across = axis == "xaxis"
    wide = range(0, size, max(1, math.ceil(size / most)))
    few = range(0, size, max(1, math.ceil(size / min(most, 8))))
    narrow = few if across else wide
    widths = (20, 12) if across else (38, 18)  # characters, on a phone the second
    drawn: Json = {
        "title": {"text": escape(title), "standoff": 10},
        "tickmode": "array",
        "tickvals": list(wide),
        "ticktext": [escape(shorten(names[index], widths[0])) for index in wide],
        "range": [-0.5, size - 0.5] if across else [size - 0.5, -0.5],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    } | _GAP
    if across and sum(len(text) for text in drawn["ticktext"]) > 60:
        drawn["tickangle"] = -45
    changes: Json = {
        f"{axis}.tickvals": list(narrow),
        f"{axis}.ticktext": [
            escape(shorten(names[index], widths[1])) for index in narrow
        ],
    }
    if across and sum(len(text) for text in changes[f"{axis}.ticktext"]) > 24:
        changes[f"{axis}.tickangle"] = -45
    return drawn, changes


def _log_ticks(values: Sequence[float]) -> Json:
    """Return ticks at 1, 2 and 5 of each decade, or at decades where there are many."""
    if not values:
        return {}
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    if high - low > 3:
        return {"dtick": 1}
    ticks = [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if min(values) / 2 <= tick <= max(values) * 2]
    return {
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }
