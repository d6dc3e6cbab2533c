"""The state of a page as JSON."""

import json
import math

from trimtab.bundle.section import Bars, Table
from trimtab.runtime.dashboard.state import (
    Entry,
    Group,
    Log,
    Span,
    State,
    Strip,
    Tile,
    Trend,
)


def test_all_blocks_become_json_without_numbers_that_are_not_finite():
    state = State(
        status="up",
        blocks=(
            Group(title="g", tiles=(Tile(name="t", value=math.inf, unit="s"),)),
            Trend(title="t", unit="s", times_s=(-1.0,), lines=(("a", (math.nan,)),)),
            Strip(title="s", spans=(Span(name="x", begin_s=-2, end_s=0, colour=1),)),
            Bars(title="b", value_title="", labels=("l",), parts=(("p", (1 / 3,)),)),
            Table(title="t", columns=("c",), units=("s",), rows=((None,), (2**60,))),
            Log(title="l", entries=(Entry(when_s=-1 / 3, what="a → b", why="So."),)),
        ),
    )
    found = json.loads(json.dumps(state.record(), allow_nan=False))
    group, trend, strip, bars, table, log = found["blocks"]
    assert [each["kind"] for each in found["blocks"]] == [
        "group", "trend", "strip", "bars", "table", "log",
    ]  # fmt: skip
    assert group["tiles"][0]["value"] is None
    assert trend["lines"] == [["a", [None]]]
    assert strip["spans"][0]["colour"] == 1
    assert bars["parts"] == [["p", [0.33333]]]
    (entry,) = log["entries"]
    assert entry == {
        "when_s": -0.33333, "what": "a → b", "why": "So.", "times": 1, "tone": "plain",
    }  # fmt: skip
    assert table["rows"] == [[None], [2**60]]  # counts are exact


def test_the_tiles_of_all_groups():
    tiles = tuple(Tile(name=name, value=0) for name in "abc")
    blocks = (Group(title="", tiles=tiles[:2]), Group(title="", tiles=tiles[2:]))
    assert State(status="", blocks=blocks).tiles == tiles
