import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.report.axes import (
    cell_text,
    escape,
    layout_of,
    name_axis,
    scaled,
    shorten,
    value_axis,
)
from trimtab.units import format_value


@pytest.mark.parametrize(
    ("values", "unit", "title", "factor"),
    [
        ((0.0005, 0.012), "s", "t [ms]", 1e-3),
        ((2e-7,), "s", "t [ns]", 1e-9),
        ((1200.0,), "s", "t [min]", 60),
        ((3 * 2**20,), "bytes", "t [MiB]", 2**20),
        ((999.4 * 2**10,), "bytes", "t [KiB]", 2**10),
        ((100,), "bytes", "t [B]", 1),
        ((2.5e9,), "count", "t [G]", 1e9),
        ((12,), "count", "t", 1),
        ((0.5,), "frac", "t [%]", 0.01),
        ((25.6e9,), "bytes/s", "t [GB/s]", 1e9),
        ((178e9,), "flops/s", "t [GFLOP/s]", 1e9),
        ((-0.004, 0.001), "s", "t [ms]", 1e-3),
        ((0.2,), "bytes", "t [B]", 1),
        ((1e-5,), "frac", "t [%]", 0.01),
        ((), "s", "t [s]", 1),
        ((0.0, math.nan), "s", "t [s]", 1),
        ((5.0,), "", "t", 1),
        ((5.0,), "rows", "t [rows]", 1),
    ],
)
def test_an_axis_takes_the_prefix_of_its_largest_value(values, unit, title, factor):
    axis = scaled("t", values, unit)
    assert (axis.title, axis.factor) == (title, factor)


@given(
    st.floats(1e-8, 1e14), st.sampled_from(["s", "bytes", "count", "frac", "bytes/s"])
)
def test_the_axis_and_the_text_agree(value, unit):
    if unit == "s" and not value < 1e5:
        return
    axis = scaled("t", [value], unit)
    number = format_value(value, unit).split(" ")[0]
    assert float(number) == pytest.approx(value / axis.factor, rel=0.06, abs=0.51)


def test_values_that_cannot_be_drawn_are_left_out():
    axis = scaled("t", [1.0], "")
    assert axis.values((1, math.nan, math.inf, -1)) == [1, None, None, -1]
    assert axis.values((1, 0, -1), log=True) == [1, None, None]


def test_cells():
    assert cell_text(float("inf"), "count") == "inf"
    assert cell_text(-0.004, "s") == "-4.00 ms"
    assert cell_text(True, "s") == "yes"
    assert cell_text("name", "s") == "name"
    assert cell_text(0.123456789) == "0.1235"


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_text_keeps_both_ends(text, width):
    short = shorten(text, width)
    assert len(short) == min(len(text), width)
    if len(text) > width:
        head, tail = short.split("…")[0], short[-1]
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.text())
def test_no_text_keeps_markup(text):
    escaped = escape(text)
    assert not set(escaped) & set("<>\"'")
    escaped.encode("utf-8")


def test_lone_surrogates_can_be_written():
    assert escape("a\ud800b") == "a?b"


def test_ticks_of_a_log_axis_are_1_2_5_or_decades():
    assert value_axis("t", (3, 40), "log")["tickvals"] == [2, 5, 10, 20, 50]
    assert value_axis("t", (1, 1e6), "log")["dtick"] == 1
    assert "tickvals" not in value_axis("t", (), "log")


def test_whole_numbers_close_together_get_whole_ticks():
    assert value_axis("t", (1, 2, 5))["dtick"] == 1
    assert "dtick" not in value_axis("t", (1, 200))
    assert "dtick" not in value_axis("t", (1, 2.5))


def test_names_are_thinned_out_and_first_on_top():
    wide, narrow = name_axis("xaxis", [f"layer {row}" for row in range(40)], most=16)
    assert wide["tickvals"] == list(range(0, 40, 3))
    assert wide["tickangle"] == -45
    assert len(narrow["xaxis.tickvals"]) <= 8
    rows, _ = name_axis("yaxis", ("a", "b"))
    assert rows["range"] == [1.5, -0.5]


def test_figures_leave_the_background_to_the_page():
    assert layout_of(100)["paper_bgcolor"] == "rgba(0,0,0,0)"
