"""Histograms that plotters read."""

import importlib.util
import math

import pytest

from trimtab.errors import MissingExtraError, UsageError
from trimtab.serve.histogram import check_histogram, write_histogram

HAS = importlib.util.find_spec("hdrh") is not None


@pytest.mark.skipif(not HAS, reason="the package hdrhistogram is not installed")
def test_percentiles_are_written_in_milliseconds(tmp_path):
    path = tmp_path / "load.hgrm"
    assert write_histogram([0.001, 0.002, 0.5, math.inf], path) == 3
    text = path.read_text()
    assert "1/(1-Percentile)" in text
    assert "TotalCount     =        3" in text
    assert [each.name for each in tmp_path.iterdir()] == ["load.hgrm"]
    with pytest.raises(UsageError, match="its folder does not exist"):
        check_histogram(tmp_path / "none" / "load.hgrm")


def test_without_the_package_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hdrh", None)
    with pytest.raises(MissingExtraError, match="hdrhistogram is not installed"):
        check_histogram(tmp_path / "load.hgrm")
