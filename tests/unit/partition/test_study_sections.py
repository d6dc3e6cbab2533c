"""What reports show of all networks."""

import math

from tests.unit.partition.test_answers import found
from tests.unit.partition.test_plan import graph  # noqa: F401 - a fixture

from trimtab.bundle.section import Bars, Heatmap, Table
from trimtab.partition.calibrate_points import Calibrated, Fit
from trimtab.partition.factors import FACTORS
from trimtab.partition.study_sections import calibration_section, objective_section
from trimtab.report.html import render


def test_shares_are_whole_and_words_have_the_numbers(graph):  # noqa: F811
    some = found(graph)
    made = objective_section("latency", [some, some])
    bars = [each for each in made.figures if isinstance(each, Bars)]
    assert len(bars) == 2
    for each in bars:
        assert len(each.parts) <= 8  # colours
        for at in range(2):
            assert math.isclose(sum(part[1][at] for part in each.parts), 1.0)
    maps = [each for each in made.figures if isinstance(each, Heatmap)]
    assert all(each.x == FACTORS for each in maps)
    tables = [each for each in made.figures if isinstance(each, Table)]
    assert {len(each.rows) for each in tables} == {2}
    assert "Single or combined?" in made.text
    assert "Hardware?" in made.text
    assert f"{some.shares.stay_ratio.mean:.2f} times" in made.text
    assert "compressed as an image" in made.text
    assert "small" in render("Study", [made], [], {}, "")


def test_errors_of_predictions():
    made = calibration_section([
        Calibrated(network="n", fit=Fit(), fitted=20, tested=30,
                   median_error_frac=0.1, p90_error_frac=0.2,
                   before_median_error_frac=0.5, noise_frac=0.02)
    ])  # fmt: skip
    table = made.figures[0]
    assert isinstance(table, Table)
    assert table.rows[0][5:9] == (20, 30, 0.1, 0.2)
