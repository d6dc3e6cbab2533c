"""One function per kind of figure: a table becomes HTML, the others plotly figures.

A plotly figure is a plain dictionary here: ``data`` and ``layout`` as plotly.js takes
them, and ``narrow``, the entries of the layout that change where the page is narrow.
Colours of text and grids are left to the style sheet, which knows light and dark.

Every text of a section may come from an untrusted file. plotly.js reads a subset of
HTML in texts, so each is escaped before it goes into a figure, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from trimtab.bundle.section import Bars, Cell, Heatmap, Series, Table, Waterfall
from trimtab.errors import UsageError
from trimtab.report.axes import (
    Json,
    Scaled,
    cell_text,
    escape,
    layout_of,
    name_axis,
    scaled,
    value_axis,
)

__all__ = [
    "COLOURS",
    "DASHES",
    "bars",
    "heatmap",
    "series",
    "table",
    "waterfall",
]

# Each keeps a contrast of about 3 or more to white and to the dark background.
COLOURS: Final = (
    "#3a7bd5", "#d9731a", "#2b9a66", "#9a63d6",
    "#d84a5b", "#1f93a6", "#8a8a1c", "#c9579f",
)  # fmt: skip
DASHES: Final = ("solid", "dash", "dot")
_SYMBOLS: Final = ("circle", "diamond", "square", "triangle-up", "cross", "x")
_LABELLED_COLUMNS: Final = 6  # a heatmap this narrow has its values in the cells
_WORDY: Final = 24  # characters of a cell that is given room for words


def table(figure: Table) -> str:
    """Return a table as HTML, numbers to the right.

    Raises:
        UsageError: a row or the units have another length than the columns.

    Example:
        >>> print(table(Table(title="t", columns=("layer", "time"), units=("", "s"),
        ...                   rows=(("conv", 0.002),))))
        <table><thead><tr><th scope="col">layer</th>...<td class="number">2.00...
    """
    width = len(figure.columns)
    _require(figure.title, "units", len(figure.units), width, "columns")
    for row in figure.rows:
        _require(figure.title, "cells of a row", len(row), width, "columns")
    numeric = [
        any(_is_number(row[column]) for row in figure.rows) for column in range(width)
    ]
    marks = [' class="number"' if each else "" for each in numeric]
    head = "".join(
        f'<th scope="col"{mark}>{escape(name)}</th>'
        for name, mark in zip(figure.columns, marks, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            _cell(cell_text(cell, unit), mark)
            for cell, unit, mark in zip(row, figure.units, marks, strict=True)
        )
        + "</tr>"
        for row in figure.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, mark: str) -> str:
    # What is long has room for some words a line, however narrow the screen is.
    mark = mark or (' class="wordy"' if len(text) > _WORDY else "")
    return f"<td{mark}>{escape(text)}</td>"


def series(figure: Series) -> Json:
    """Return curves and points over common axes.

    Raises:
        UsageError: a line whose x, y and labels differ in length.

    Example:
        >>> from trimtab.bundle.section import Line
        >>> drawn = series(Series(title="t", x_title="batch", y_title="latency",
        ...     y_unit="s", lines=(Line(name="cpu", x=(1, 2), y=(0.001, 0.002)),)))
        >>> drawn["data"][0]["y"], drawn["layout"]["yaxis"]["title"]["text"]
        ([1.0, 2.0], 'latency [ms]')
    """
    for line in figure.lines:
        _require(figure.title, f"y of {line.name!r}", len(line.y), len(line.x), "x")
        if line.labels:
            _require(figure.title, "labels", len(line.labels), len(line.x), "x")
    xs = [x for line in figure.lines for x in line.x]
    ys = [y for line in figure.lines for y in line.y]
    x_axis = scaled(figure.x_title, xs, figure.x_unit)
    y_axis = scaled(figure.y_title, ys, figure.y_unit)
    data: list[Json] = []
    for index, line in enumerate(figure.lines):
        colour = COLOURS[index % len(COLOURS)]
        hover = [
            [
                escape(label),
                escape(cell_text(x, figure.x_unit)),
                escape(cell_text(y, figure.y_unit)),
            ]
            for x, y, label in zip(
                line.x, line.y, line.labels or (line.name,) * len(line.x), strict=True
            )
        ]
        data.append(
            {
                "type": "scatter",
                "mode": line.mode,
                "name": escape(line.name),
                "x": x_axis.values(line.x, log=figure.x_scale == "log"),
                "y": y_axis.values(line.y, log=figure.y_scale == "log"),
                "line": {
                    "color": colour,
                    "width": 2,
                    "dash": DASHES[index // len(COLOURS) % len(DASHES)],
                },
                "marker": {
                    "color": colour,
                    "size": 7,
                    "symbol": _SYMBOLS[index % len(_SYMBOLS)],
                },
                "customdata": hover,
                "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}, "
                "%{customdata[2]}<extra></extra>",
            }
        )
    layout = layout_of(360)
    layout["xaxis"] = _axis(x_axis, xs, figure.x_scale)
    layout["yaxis"] = _axis(y_axis, ys, figure.y_scale)
    return {"data": data, "layout": layout, "narrow": {"height": 320}}


def bars(figure: Bars) -> Json:
    """Return stacked horizontal bars, the first label on top.

    Raises:
        UsageError: a part with more or fewer values than there are labels.

    Example:
        >>> drawn = bars(Bars(title="t", value_title="latency", value_unit="s",
        ...     labels=("conv", "fc"), parts=(("compute", (0.001, 0.002)),)))
        >>> drawn["data"][0]["x"], drawn["layout"]["yaxis"]["ticktext"]
        ([1.0, 2.0], ['conv', 'fc'])
    """
    for name, values in figure.parts:
        _require(
            figure.title, f"values of {name!r}", len(values), len(figure.labels), "bars"
        )
    every = [value for _, values in figure.parts for value in values]
    sums = [
        math.fsum(value for value in column if math.isfinite(value))
        for column in zip(*(values for _, values in figure.parts), strict=True)
    ]
    axis = scaled(figure.value_title, every + sums, figure.value_unit)
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": escape(name),
            "x": axis.values(values),
            "y": list(range(len(values))),
            "marker": {"color": COLOURS[index % len(COLOURS)]},
            "customdata": [
                [
                    escape(label),
                    escape(name),
                    escape(cell_text(value, figure.value_unit)),
                ]
                for label, value in zip(figure.labels, values, strict=True)
            ],
            "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}: "
            "%{customdata[2]}<extra></extra>",
        }
        for index, (name, values) in enumerate(figure.parts)
    ]
    layout = layout_of(90 + 24 * max(3, len(figure.labels)))
    layout |= {"barmode": "relative", "bargap": 0.3}
    layout["xaxis"] = value_axis(axis.title)
    if len(figure.labels) > 25:
        layout["xaxis"]["side"] = "top"
    layout["yaxis"], narrow = name_axis("yaxis", figure.labels)
    return {"data": data, "layout": layout, "narrow": narrow}


def heatmap(figure: Heatmap) -> Json:
    """Return a grid of colours, the first row on top.

    Raises:
        UsageError: the grid has more or fewer rows or columns than names for them.

    Example:
        >>> drawn = heatmap(Heatmap(title="t", x_title="batch", y_title="device",
        ...     value_title="latency", value_unit="s", x=(1, 2), y=("cpu",),
        ...     values=((0.001, 0.002),)))
        >>> drawn["data"][0]["z"], drawn["data"][0]["text"]
        ([[1.0, 2.0]], [['1.00 ms', '2.00 ms']])
    """
    _require(figure.title, "rows", len(figure.values), len(figure.y), "names in y")
    for row in figure.values:
        _require(figure.title, "values of a row", len(row), len(figure.x), "names in x")
    every = [value for row in figure.values for value in row if math.isfinite(value)]
    axis = scaled(figure.value_title, every, figure.value_unit)
    columns = tuple(cell_text(cell) for cell in figure.x)
    rows = tuple(cell_text(cell) for cell in figure.y)
    text = [
        [
            escape(cell_text(each, figure.value_unit)) if math.isfinite(each) else ""
            for each in row
        ]
        for row in figure.values
    ]
    trace: Json = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "z": [axis.values(row) for row in figure.values],
        "text": text,
        "customdata": [
            [[escape(column), escape(row)] for column in columns] for row in rows
        ],
        "hovertemplate": "%{customdata[0]}<br>%{customdata[1]}<br>%{text}"
        "<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorscale": "Viridis",
        "colorbar": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "yref": "container",  # in the margin that is kept free below
            "y": 1,
            "yanchor": "top",
            "len": 1,
            "xpad": 0,
            "ypad": 6,
            "thickness": 10,
            "outlinewidth": 0,
            "title": {"text": axis.title, "side": "bottom"},
            "nticks": 6,
        },
    }
    if every and min(every) < 0 < max(every):
        trace |= {"colorscale": "RdBu", "zmid": 0}
    if len(columns) <= _LABELLED_COLUMNS:
        trace["texttemplate"] = "%{text}"
    layout = layout_of(150 + min(640, max(120, 28 * len(rows))))
    layout["xaxis"], narrow = name_axis("xaxis", columns, figure.x_title, most=16)
    layout["yaxis"], narrow_y = name_axis("yaxis", rows, figure.y_title, most=24)
    layout["margin"]["t"] = 66
    return {"data": [trace], "layout": layout, "narrow": narrow | narrow_y}


def waterfall(figure: Waterfall) -> Json:
    """Return the start, each change and the result, from top to bottom.

    Raises:
        UsageError: there are more or fewer values than steps.

    Example:
        >>> drawn = waterfall(Waterfall(title="t", value_title="latency",
        ...     value_unit="s", steps=("before", "fuse"), values=(0.005, -0.002)))
        >>> drawn["data"][0]["text"]
        ['5.00 ms', '-2.00 ms', '3.00 ms']
    """
    _require(figure.title, "values", len(figure.values), len(figure.steps), "steps")
    if not all(math.isfinite(value) for value in figure.values):
        _refuse(figure.title, "a value is not finite", "its sum would mean nothing")
    levels = [math.fsum(figure.values[: end + 1]) for end in range(len(figure.values))]
    result = levels[-1] if levels else 0.0
    axis = scaled(figure.value_title, levels, figure.value_unit)
    names = (*figure.steps, "result")
    text = [
        _signed(value, figure.value_unit)
        if index
        else cell_text(value, figure.value_unit)
        for index, value in enumerate(figure.values)
    ]
    text.append(cell_text(result, figure.value_unit))
    trace = {
        "type": "waterfall",
        "orientation": "h",
        "y": list(range(len(names))),
        "x": [*axis.values(figure.values), result / axis.factor],
        "measure": ["absolute", *["relative"] * (len(names) - 2), "total"],
        "text": [escape(each) for each in text],
        "textposition": "outside",
        "cliponaxis": False,
        "totals": {"marker": {"color": COLOURS[0]}},
        "increasing": {"marker": {"color": COLOURS[1]}},
        "decreasing": {"marker": {"color": COLOURS[2]}},
        "connector": {"line": {"color": "#888", "width": 1}},
        "customdata": [[escape(name)] for name in names],
        "hovertemplate": "%{customdata[0]}<br>%{text}<extra></extra>",
    }
    layout = layout_of(90 + 30 * len(names))
    layout["xaxis"] = value_axis(axis.title)
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "#888"}
    layout["xaxis"]["range"] = _room(figure.values, levels, axis.factor, 0.14)
    layout["yaxis"], narrow = name_axis("yaxis", names)
    narrow["xaxis.range"] = _room(figure.values, levels, axis.factor, 0.65)
    narrow["xaxis.nticks"] = 4
    return {"data": [trace], "layout": layout, "narrow": narrow}


def _room(
    values: Sequence[float], levels: Sequence[float], factor: float, text_frac: float
) -> list[float]:
    """Return the range of a waterfall whose texts stand outside of their bars.

    Args:
        values: the start and the changes.
        levels: their running sums.
        factor: of the axis.
        text_frac: how much of the range of the bars a text takes.
    """
    low, high = min([0.0, *levels]), max([0.0, *levels])
    text = text_frac * ((high - low) or 1.0)
    ends = [level for value, level in zip(values, levels, strict=True) if value < 0]
    left = min([low, *(end - text for end in ends)])
    if levels and levels[-1] < 0:  # the result, too, has its text on the left
        left = min(left, levels[-1] - text)
    return [left / factor, (high + text) / factor]


def _signed(value: float, unit: str) -> str:
    return f"{'' if value < 0 else '+'}{cell_text(value, unit)}"


def _axis(axis: Scaled, values: Sequence[float], scale: str) -> Json:
    return value_axis(axis.title, [value / axis.factor for value in values], scale)


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _require(title: str, what: str, have: int, want: int, per: str) -> None:
    if have != want:
        _refuse(title, f"{have} {what}", f"there must be {want}, as many as {per}")


def _refuse(title: str, asked: str, rule: str) -> None:
    raise UsageError(
        asked,
        rule=rule,
        where=f"figure {title!r}",
        remedy="correct the stage that wrote this section",
    )
