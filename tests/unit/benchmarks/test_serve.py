"""The benchmark of serving: what is chosen, judged and told."""

import json

import pytest
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.serve import fleet, follow, paper, report

from trimtab.serve.curves import curve_names


def test_every_table_is_a_job_and_a_row(tmp_path):
    keys = [each.key for each in report.jobs()]
    assert len(keys) == len(set(keys))
    rows = report.all_rows(Store(tmp_path))
    assert {row.note for row in rows} == {NOT_MEASURED}
    goals = {row.id: row.goal for row in rows if row.id.startswith("serve/paper/40")}
    assert goals["serve/paper/40/low/plain"] == 1.8
    assert goals["serve/paper/40/high/plain"] == 2.0
    assert goals["serve/paper/40/high/contended"] is None


def test_a_row_is_the_geometric_mean_over_feasible_networks(tmp_path):
    store = Store(tmp_path)
    row = {
        "batch": 64, "threshold": None, "policy": "threshold", "infeasible": "",
        "static_per_s": [10.0] * 3, "tuned_per_s": [20.0] * 3, "gain": 2.0,
        "gains": [2.0, 2.0, 2.0],
    }  # fmt: skip
    other = row | {"gain": 8.0, "gains": [8.0, 8.0, 8.0]}
    rows = {"ncf": row, "wnd": other, "din": {"gain": None, "infeasible": "never"}}
    store.put("paper/40/medium/plain", {"rows": rows})
    found = next(
        each
        for each in report.all_rows(store)
        if each.id == "serve/paper/40/medium/plain"
    )
    assert found.value == pytest.approx((2.0 * 8.0) ** 0.5)
    assert found.interval == pytest.approx((4.0, 4.0))
    assert "infeasible: din" in found.note
    shown = report.networks(store)
    assert "| 40, medium, plain | wnd | 10 | 64 |  | 20 | 8.00 |" in shown
    assert "| 40, medium, plain | din | infeasible |" in shown


def test_hosts_of_the_table():
    contended = paper.host_of("rmc2", 40, "contended").curve
    assert contended.batch_s(256, 40) > 1.2 * contended.batch_s(256, 1)
    narrow = paper.host_of("ncf", 40, "contended").curve
    assert narrow.batch_s(256, 40) == narrow.batch_s(256, 1)
    hosts = [paper.host_of("wnd", 40, f"gpu-{each}") for each in (1, 40)]
    one, many = (each.accelerator for each in hosts)
    assert one is not None
    assert many is not None
    assert one.batch_s(1024) > 5 * many.batch_s(1024)


def test_a_day_of_a_small_fleet():
    found = fleet.day(2, seed=3)
    assert found == fleet.day(2, seed=3)
    assert found["hosts"] == len(found["static"]["p95_s"]) == 2
    for name in ("static", "tuned"):
        for low, high in zip(found[name]["p95_s"], found[name]["p99_s"], strict=True):
            assert 0 < low <= high
    shares = fleet.rates()
    assert max(shares) / min(shares) == pytest.approx(2.5, rel=0.1)
    json.dumps(found)


def test_loads_name_arrivals():
    assert set(curve_names()) >= {"wnd", "din"}
    assert follow.LOADS["step"][0] == "step:2,15s"
