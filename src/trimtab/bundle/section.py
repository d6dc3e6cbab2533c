"""What a stage has to show, as data that the report can draw without knowing the stage.

A section is a heading, a sentence or two, and figures. The figures are few on purpose:
whoever needs another kind adds it here and in `report/figures.py`, for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Bars",
    "Figure",
    "Heatmap",
    "Line",
    "Section",
    "Series",
    "Table",
    "Waterfall",
]

Cell = str | int | float | bool | None
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns.

    Attributes:
        title: stands above the table.
        columns: their headings.
        units: a base unit of `trimtab.units.format_value` per column; "" for text and
            plain numbers.
        rows: one cell per column.
    """

    title: str
    columns: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve or cloud of points.

    Attributes:
        name: in the legend.
        x: positions, in the x unit of the series.
        y: values, in the y unit of the series, as many as `x`.
        mode: a curve, or points.
        labels: text per point, shown on hovering; empty or as many as `x`.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    mode: Literal["lines", "markers", "lines+markers"] = "lines"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Curves or points over common axes.

    Attributes:
        title: stands above the figure.
        x_title: what the x axis shows, with the unit in it unless `x_unit` names one.
        y_title: the same for the y axis.
        lines: in the order of the legend.
        x_scale: of the x axis; a logarithmic one shows positive values only.
        y_scale: of the y axis.
        x_unit: a base unit of `trimtab.units.format_value`; the axis then picks its
            prefix itself and writes it behind the title.
        y_unit: the same for the y axis.
    """

    title: str
    x_title: str
    y_title: str
    lines: tuple[Line, ...]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    x_unit: str = ""
    y_unit: str = ""
    kind: Literal["series"] = "series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Stacked horizontal bars, one per label.

    Attributes:
        title: stands above the figure.
        value_title: axis title, with its unit unless `value_unit` names one.
        labels: one per bar, from top to bottom.
        parts: name of a part and its value per bar.
        value_unit: a base unit of `trimtab.units.format_value`, or "".
    """

    title: str
    value_title: str
    labels: tuple[str, ...]
    parts: tuple[tuple[str, tuple[float, ...]], ...]
    value_unit: str = ""
    kind: Literal["bars"] = "bars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """A value per cell of a grid.

    Attributes:
        title: stands above the figure.
        x_title: what the columns are.
        y_title: what the rows are.
        value_title: title of the colour scale, with its unit unless `value_unit` names
            one.
        x: one name per column.
        y: one name per row, from top to bottom.
        values: ``values[row][column]``; NaN leaves a cell empty.
        value_unit: a base unit of `trimtab.units.format_value`, or "".
    """

    title: str
    x_title: str
    y_title: str
    value_title: str
    x: tuple[Cell, ...]
    y: tuple[Cell, ...]
    values: tuple[tuple[float, ...], ...]
    value_unit: str = ""
    kind: Literal["heatmap"] = "heatmap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """How a quantity changes from step to step; the first value is the start.

    Attributes:
        title: stands above the figure.
        value_title: axis title, with its unit unless `value_unit` names one.
        steps: the start and each change by name; the figure adds the result itself.
        values: the start, then what each step adds (or, negative, takes away).
        value_unit: a base unit of `trimtab.units.format_value`, or "".
    """

    title: str
    value_title: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    value_unit: str = ""
    kind: Literal["waterfall"] = "waterfall"


Figure = Table | Series | Bars | Heatmap | Waterfall


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One chapter of the report.

    Attributes:
        name: of the stage that wrote it; unique in a bundle.
        title: heading.
        text: plain sentences that say what was decided and why; no markup.
        figures: in order.
    """

    name: str
    title: str
    text: str
    figures: tuple[Figure, ...] = ()
