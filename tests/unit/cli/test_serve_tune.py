"""`trimtab serve tune`: a schedule in a file that a server starts with."""

import json

import pytest

from trimtab.serve.tuned import read_tuned

NETS = "tests.unit.serve.live.nets:tables"


@pytest.mark.timeout(180)
def test_a_schedule_is_found_and_written(trimtab, tmp_path, monkeypatch):
    # What the machine sustains differs from day to day: a hundred a second will do.
    monkeypatch.setattr("trimtab.serve.live.tuning._SHARES", (1.0,))
    monkeypatch.setattr("trimtab.serve.live.tuning.MOST_PER_S", 100)
    monkeypatch.setenv("PYTHONPATH", ":".join(__import__("sys").path))
    path = tmp_path / "schedule.json"
    done = trimtab(
        "serve", "tune", NETS, "--slo", "p95=2s", "--workers", "1", "--best", "1",
        "--trial", "4s", "-o", str(path), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    tuned = read_tuned(path)
    assert tuned.schedule.batch == found["batch"] == found["tried"][0]["batch"]
    assert tuned.rate_per_s == found["rate_per_s"] > 0
    assert found["tried"][0]["report"]["verdict"] == "VALID"


def test_a_target_that_nothing_keeps_is_2(trimtab, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(__import__("sys").path))
    done = trimtab("serve", "tune", NETS, "--slo", "p95=1us", "--workers", "1")
    assert done.returncode == 2
    assert "no batch size keeps it" in done.stderr


def test_a_place_that_is_none_is_refused_first(trimtab):
    done = trimtab("serve", "tune", "zoo:absent", "-o", "none/schedule.json")
    assert done.returncode == 1
    assert "its folder does not exist" in done.stderr
