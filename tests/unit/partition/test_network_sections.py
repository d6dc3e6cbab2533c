"""What reports show of one network of a study."""

import pytest
from tests.unit.partition.test_plan import graph  # noqa: F401 - a fixture
from tests.unit.partition.test_study import made

from trimtab.bundle.section import Heatmap, Series
from trimtab.partition.answers import answers
from trimtab.partition.conditions import Limits
from trimtab.partition.network_sections import network_section
from trimtab.report.html import render


def shown(some):
    results = []
    for objective in ("latency", "throughput"):
        outcome = some.outcome(objective)
        results.append((outcome, answers(some, outcome, noise_frac=0.05, seed=0)))
    return network_section(some, results)


def test_maps_and_curves(graph):  # noqa: F811
    some = made(graph, uplinks=5)
    section = shown(some)
    where, over = section.figures[:2]
    assert isinstance(where, Heatmap)
    assert (len(where.values), len(where.values[0])) == (7, 25)
    assert all(0 <= each <= 1 for row in where.values for each in row)
    assert where.values[-1][0] == pytest.approx(1.0)  # a slow, far link: the edge
    assert isinstance(over, Series)
    for line in over.lines:
        if line.name != "cloud only, compressed input":
            assert min(line.y) >= 1 - 1e-9
    assert section.title == "small"
    assert "together" not in section.text
    assert "times the baseline" in section.text
    assert "small" in render("Study", [section], [], {}, "")


def test_what_is_not_allowed_is_not_drawn(graph):  # noqa: F811
    over = shown(made(graph, limits=Limits(private_layers=1))).figures[1]
    assert isinstance(over, Series)
    names = {line.name for line in over.lines}
    assert "cloud only" not in names
    assert "edge only" in names
