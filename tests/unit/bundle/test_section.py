"""Sections are plain data: what a bundle stores comes back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trimtab.bundle.section import (
    Bars,
    Figure,
    Heatmap,
    Line,
    Section,
    Series,
    Table,
    Waterfall,
)

ADAPTER: TypeAdapter[Section] = TypeAdapter(Section)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = st.lists(FINITE, max_size=3).map(tuple)
TEXTS = st.lists(st.text(max_size=5), max_size=3).map(tuple)
CELLS = st.lists(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | st.text(),
    max_size=3,
).map(tuple)  # fmt: skip
SCALES = st.sampled_from(["linear", "log"])
LINES = st.builds(
    Line,
    name=st.text(),
    x=FLOATS,
    y=FLOATS,
    mode=st.sampled_from(["lines", "markers", "lines+markers"]),
    labels=TEXTS,
)
FIGURES: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        Table,
        title=st.text(),
        columns=TEXTS,
        units=TEXTS,
        rows=st.lists(CELLS, max_size=2).map(tuple),
    ),
    st.builds(
        Series,
        title=st.text(),
        x_title=st.text(),
        y_title=st.text(),
        lines=st.lists(LINES, max_size=2).map(tuple),
        x_scale=SCALES,
        y_scale=SCALES,
    ),
    st.builds(
        Bars,
        title=st.text(),
        value_title=st.text(),
        labels=TEXTS,
        parts=st.lists(st.tuples(st.text(), FLOATS), max_size=2).map(tuple),
    ),
    st.builds(
        Heatmap,
        title=st.text(),
        x_title=st.text(),
        y_title=st.text(),
        value_title=st.text(),
        x=CELLS,
        y=CELLS,
        values=st.lists(FLOATS, max_size=2).map(tuple),
    ),
    st.builds(
        Waterfall, title=st.text(), value_title=st.text(), steps=TEXTS, values=FLOATS
    ),
)


@settings(deadline=None)
@given(figures=st.lists(FIGURES, max_size=3).map(tuple), text=st.text())
def test_round_trip(figures: tuple[Figure, ...], text: str) -> None:
    section = Section(name="n", title="t", text=text, figures=figures)
    found = ADAPTER.validate_json(ADAPTER.dump_json(section))
    assert found == section
    for a, b in zip(found.figures, figures, strict=True):
        assert type(a) is type(b)


def test_kinds_of_cells_are_kept() -> None:
    row = (1, 1.0, True, False, 0, None, "1", "true", "")
    columns = tuple("abcdefghi")
    table = Table(title="t", columns=columns, units=("",) * 9, rows=(row,))
    section = Section(name="n", title="t", text="", figures=(table,))
    found = ADAPTER.validate_json(ADAPTER.dump_json(section)).figures[0]
    assert isinstance(found, Table)
    assert found.rows == (row,)
    assert list(map(type, found.rows[0])) == list(map(type, row))


def test_every_kind_of_figure_has_a_name_of_its_own() -> None:
    kinds = [
        field.default
        for figure in get_args(Figure)
        for field in dataclasses.fields(figure)
        if field.name == "kind"
    ]
    assert kinds == ["table", "series", "bars", "heatmap", "waterfall"]


def test_records_are_frozen_and_hashable() -> None:
    line = Line(name="a", x=(1.0,), y=(math.pi,))
    series = Series(title="t", x_title="x", y_title="y", lines=(line,))
    section = Section(name="n", title="t", text="x", figures=(series,))
    assert hash(section) == hash(dataclasses.replace(section))
    for record, name in ((section, "title"), (series, "lines"), (line, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, ())
