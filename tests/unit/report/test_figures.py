import json
import math
from typing import Any

import pytest

from trimtab.bundle.section import Bars, Heatmap, Line, Series, Table, Waterfall
from trimtab.errors import UsageError
from trimtab.report.figures import bars, heatmap, series, table, waterfall

HOSTILE = '</script><img src=x onerror="alert(1)">'


def _line(**changes):
    fields: dict[str, Any] = {"name": "cpu", "x": (1, 2, 4), "y": (0.001, 0.002, 0.004)}
    return Line(**fields | changes)


def _series(*lines, **changes):
    fields: dict[str, Any] = {"title": "t", "x_title": "batch", "y_title": "latency"}
    return Series(**fields | {"lines": lines} | changes)


def _bars(**changes):
    fields: dict[str, Any] = {
        "title": "t",
        "value_title": "latency",
        "labels": ("a", "b"),
        "parts": (("compute", (1.0, 2.0)), ("memory", (3.0, 4.0))),
    }
    return Bars(**fields | changes)


def _heatmap(**changes):
    fields: dict[str, Any] = {
        "title": "t",
        "x_title": "batch",
        "y_title": "device",
        "value_title": "latency",
        "x": (1, 2),
        "y": ("cpu",),
        "values": ((1.0, 2.0),),
    }
    return Heatmap(**fields | changes)


def _waterfall(**changes):
    fields: dict[str, Any] = {
        "title": "t",
        "value_title": "latency",
        "steps": ("start", "fuse", "copy"),
        "values": (10.0, -4.0, 1.0),
    }
    return Waterfall(**fields | changes)


DRAWN = {
    "series": lambda: series(_series(_line(), y_unit="s", x_scale="log")),
    "points": lambda: series(
        _series(_line(mode="markers", labels=("a", HOSTILE, "c")), y_scale="log")
    ),
    "no lines": lambda: series(_series()),
    "bars": lambda: bars(_bars(value_unit="s")),
    "no bars": lambda: bars(_bars(labels=(), parts=())),
    "hostile": lambda: bars(_bars(labels=(HOSTILE, "b"), value_title=HOSTILE)),
    "heatmap": lambda: heatmap(_heatmap()),
    "diverging": lambda: heatmap(_heatmap(values=((-1.0, math.nan),))),
    "no cells": lambda: heatmap(_heatmap(x=(), y=(), values=())),
    "waterfall": lambda: waterfall(_waterfall()),
    "no steps": lambda: waterfall(_waterfall(steps=(), values=())),
}


@pytest.mark.parametrize("name", DRAWN)
def test_plotly_knows_every_key(name):
    objects = pytest.importorskip(
        "plotly.graph_objects", reason="plotly is missing: extra `report`"
    )
    drawn = DRAWN[name]()
    objects.Figure(data=drawn["data"], layout=drawn["layout"])
    for path, value in drawn["narrow"].items():
        objects.Figure(layout=drawn["layout"]).update_layout(
            {path.replace(".", "_"): value}
        )


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_json_without_nan_and_without_markup(name):
    text = json.dumps(DRAWN[name](), allow_nan=False)
    assert "<img" not in text
    assert "</script" not in text


def test_a_table_formats_by_unit_and_puts_numbers_to_the_right():
    html = table(
        Table(
            title="t",
            columns=("layer <1>", "time", "on"),
            units=("", "s", ""),
            rows=(("conv & co", 0.002, True), ("fc", None, False)),
        )
    )
    assert '<th scope="col">layer &lt;1&gt;</th>' in html
    assert "<td>conv &amp; co</td>" in html
    assert '<td class="number">2.00 ms</td><td>yes</td>' in html
    assert '<td class="number">-</td><td>no</td>' in html
    long = Table(title="t", columns=("why",), units=("",), rows=(("word " * 9,),))
    assert '<td class="wordy">word word' in table(long)


def test_series_scale_both_axes_and_say_so():
    drawn = series(
        _series(
            _line(x=(1e6, 2e6), y=(2.0**20, 2.0**21)), x_unit="count", y_unit="bytes"
        )
    )
    assert drawn["data"][0]["x"] == [1, 2]
    assert drawn["data"][0]["y"] == [1, 2]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "batch [M]"
    assert drawn["layout"]["yaxis"]["title"]["text"] == "latency [MiB]"
    assert drawn["data"][0]["customdata"][1] == ["cpu", "2.00 M", "2.00 MiB"]


def test_more_lines_than_colours_differ_in_dash():
    drawn = series(_series(*(_line(name=str(row)) for row in range(12))))
    looks = {(each["line"]["color"], each["line"]["dash"]) for each in drawn["data"]}
    assert len(looks) == 12


def test_bars_of_one_name_stay_two_bars():
    drawn = bars(_bars(labels=("same", "same")))
    assert drawn["data"][0]["y"] == [0, 1]
    assert drawn["layout"]["yaxis"]["ticktext"] == ["same", "same"]


def test_bars_take_the_prefix_of_their_sum():
    drawn = bars(_bars(parts=(("a", (6e-4, 0.0)), ("b", (6e-4, 0.0))), value_unit="s"))
    assert drawn["layout"]["xaxis"]["title"]["text"] == "latency [ms]"
    assert drawn["data"][0]["x"] == pytest.approx([0.6, 0])


def test_many_bars_make_a_high_figure_with_its_axis_on_top():
    drawn = bars(_bars(labels=("n",) * 50, parts=(("a", (1.0,) * 50),)))
    assert drawn["layout"]["height"] > 50 * 20
    assert drawn["layout"]["xaxis"]["side"] == "top"


def test_heatmap_has_its_first_row_on_top_and_holes_where_nan():
    drawn = heatmap(_heatmap(y=("a", "b"), values=((1.0, math.nan), (2.0, 3.0))))
    assert drawn["layout"]["yaxis"]["range"] == [1.5, -0.5]
    assert drawn["data"][0]["z"] == [[1, None], [2, 3]]
    assert drawn["data"][0]["text"] == [["1", ""], ["2", "3"]]


def test_heatmap_around_zero_has_zero_in_the_middle():
    assert heatmap(_heatmap(values=((-1.0, 2.0),)))["data"][0]["zmid"] == 0
    assert "zmid" not in heatmap(_heatmap())["data"][0]


def test_waterfall_ends_in_the_sum():
    drawn = waterfall(_waterfall())
    assert drawn["data"][0]["measure"] == ["absolute", "relative", "relative", "total"]
    assert drawn["data"][0]["x"] == [10, -4, 1, 10 - 4 + 1]
    assert drawn["data"][0]["text"] == ["10", "-4", "+1", "7"]


def test_waterfall_leaves_room_for_texts_on_the_side_they_are_on():
    low, high = waterfall(_waterfall())["layout"]["xaxis"]["range"]
    assert low == 0
    assert high > 10
    low, _ = waterfall(_waterfall(values=(1.0, -9.0, 0.0)))["layout"]["xaxis"]["range"]
    assert low < -8


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: series(_series(_line(y=(1.0,)))), "1 y of 'cpu': there must be 3"),
        (lambda: series(_series(_line(labels=("a",)))), "1 labels: there must be 3"),
        (lambda: bars(_bars(labels=("a",))), "2 values of 'compute': there must be 1"),
        (lambda: heatmap(_heatmap(y=())), "1 rows: there must be 0"),
        (lambda: heatmap(_heatmap(x=(1,))), "2 values of a row: there must be 1"),
        (lambda: waterfall(_waterfall(values=())), "0 values: there must be 3"),
        (lambda: waterfall(_waterfall(values=(1, 2, math.inf))), "not finite"),
        (
            lambda: table(
                Table(title="t", columns=("a",), units=("",), rows=((1, 2),))
            ),
            "2 cells of a row: there must be 1",
        ),
        (
            lambda: table(Table(title="t", columns=("a",), units=(), rows=())),
            "0 units: there must be 1",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_named(draw, text):
    with pytest.raises(UsageError, match=text) as caught:
        draw()
    assert caught.value.where == "figure 't'"
    assert "stage" in caught.value.remedy
