"""A study from networks by name to files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.partition.test_calibrate_points import points, write

from trimtab.errors import DataError, UsageError
from trimtab.partition.space import Space
from trimtab.pipeline.network import open_graph
from trimtab.pipeline.profiles import profile_of
from trimtab.pipeline.study import StudyPlan, study

PLAN = StudyPlan(
    networks=("zoo:lenet5",), edges=("raspberry-pi-4",), clouds=("turin", "t4"),
    objectives=("latency",), codecs=("raw",), points=1,
)  # fmt: skip


def quiet(name, done, text):
    """Progress that nobody watches."""


def test_the_same_plan_writes_the_same_bytes(tmp_path):
    first, again = (study(PLAN, tmp_path / name, quiet) for name in "ab")
    assert first.record == again.record
    for name in ("study.json", "points.npz", "study.html"):
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()
    record = json.loads((tmp_path / "a" / "study.json").read_text())
    assert record == json.loads(json.dumps(first.record))
    manifest = record["manifest"]
    assert manifest["edges"] == ["raspberry-pi-4"]
    assert manifest["seed"] == 0
    assert len(manifest["levels"]["uplink"]) == 5
    assert set(record["networks"]) == {"lenet5"}
    study(PLAN, tmp_path / "a", quiet)  # in its own place


def test_as_many_points_as_asked_for(tmp_path):
    for asked in (1, 300_000):
        found = study(replace(PLAN, points=asked), tmp_path / str(asked), quiet)
        assert found.points >= asked
        with np.load(tmp_path / str(asked) / "points.npz") as arrays:
            assert len(arrays["levels uplink"]) % 2 == 1
    assert found.points < 2 * 300_000


def test_measured_points_correct_what_is_predicted(tmp_path):
    graph = open_graph("zoo:lenet5", device="meta").graph
    pi = profile_of("raspberry-pi-4", graph, threads=PLAN.threads)[0]
    space = Space(graph, pi, pi, positions=range(len(graph.nodes) + 1))
    file = write(tmp_path / "points.json", points(space))
    plan = replace(PLAN, calibration=file, measured_on="raspberry-pi-4")
    found = study(plan, tmp_path / "out", quiet)
    one = found.calibrations[0]
    assert one.fit.edge_scale == pytest.approx(1.7, rel=0.05)
    assert one.median_error_frac < 0.05
    assert found.found[0].gain.noise_frac == one.noise_frac
    assert found.record["networks"]["lenet5"]["calibration"]["tested"] == 30
    assert "Predicted against measured" in (tmp_path / "out" / "study.html").read_text()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"networks": ()}, UsageError, "without networks"),
        ({"networks": ("zoo:lenet5", "zoo:lenet5")}, UsageError, "twice"),
        ({"private_layers": 99}, UsageError, "layers with weights"),
        ({"edges": (".",)}, DataError, "none is of network"),
    ],
)
def test_what_cannot_be_studied(tmp_path, monkeypatch, change, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        study(replace(PLAN, **change), tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()
