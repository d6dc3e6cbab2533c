"""Tiles for Prometheus."""

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from trimtab.runtime.dashboard.metrics import text
from trimtab.runtime.dashboard.state import Group, State, Tile

TILES = (
    Tile(name="answers", value=2, metric="answers", counter=True,
         labels=(("by", 'a"\n\\'),)),
    Tile(name="answers", value=3, metric="answers", counter=True,
         labels=(("by", "b"),)),
    Tile(name="p95 latency", value=0.25, unit="s", metric="latency_p95"),
    Tile(name="goodput", value=1e6, unit="bytes/s", metric="goodput"),
    Tile(name="unknown yet", value=None, metric="absent"),
    Tile(name="only shown", value=7),
)  # fmt: skip


def test_what_is_scraped_has_names_with_units():
    state = State(status="", blocks=(Group(title="", tiles=TILES),))
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text("pre", state).decode())
        for sample in family.samples
    }
    assert found == {
        ("pre_answers_total", 'a"\n\\'): 2.0,
        ("pre_answers_total", "b"): 3.0,
        ("pre_latency_p95_seconds",): 0.25,
        ("pre_goodput_bytes_per_second",): 1e6,
    }
