"""The benchmark of serving: what is chosen, judged and told."""

import json
import random

import numpy as np
import pytest
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.results import claims
from benchmarks.serve import fleet, follow, paper, queries, report, report_faults, soak

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


def test_a_query_is_told_once_and_what_is_not_told_is_lost():
    ledger = queries.Ledger()
    first, second, third = (ledger.sent() for _ in range(3))
    ledger.told(first, "answered")
    ledger.told(second, "shed")
    ledger.told(first, "answered")
    found = ledger.outcome(wait_s=0.0)
    assert found == {
        "sent": 3, "answered": 1, "shed": 1, "refused": 0, "untyped": 0, "wrong": 0,
        "duplicated": 1, "lost": 1,
    }  # fmt: skip
    ledger.told(third, "untyped")
    assert ledger.outcome(wait_s=0.0)["lost"] == 0


def test_every_way_to_spoil_a_body_leaves_another_one():
    body = json.dumps({
        "inputs": [{"name": "ids", "shape": [2], "datatype": "INT64",
                    "parameters": {"binary_data_size": 16}}]
    }, separators=(",", ":")).encode()  # fmt: skip
    right = (body + bytes(16), len(body))
    drawn = random.Random(0)
    found = [queries.spoilt(right, drawn) for _ in range(200)]
    # What is changed at random may be what it was.
    assert sum(each == right for each in found) < 10
    assert {len(content) < len(right[0]) for content, _ in found} == {True, False}
    assert max(head for _, head in found) == 10**15


def test_memory_that_grows_is_told_from_noise():
    noise = np.random.default_rng(0).normal(0, 10_000, 500)
    flat = [(float(at), round(10**8 + each), 7) for at, each in enumerate(noise)]
    grown = [(at, size + 1_000 * int(at), 7) for at, size, _ in flat]
    found = soak.growth(flat)
    assert found["judged_s"] == 399  # the first fifth is left out
    assert found["grown"][1] < 0 < found["grown"][2]
    assert found["worker_bytes"] == 7
    value, low, high = soak.growth(grown)["grown"]
    assert low < 399_000 < high
    assert low > 300_000
    assert value == pytest.approx(399_000, rel=0.1)


def test_rows_of_live_servers(tmp_path):
    store = Store(tmp_path)
    ends = {
        "sent": 10, "answered": 6, "shed": 2, "refused": 1, "untyped": 0, "wrong": 0,
        "duplicated": 0, "lost": 1, "restarts": 3, "again": 4, "swaps": 5,
    }  # fmt: skip
    memory = {"grown": [1e6, -1e6, 2e6], "judged_s": 480.0, "most_bytes": 2**28,
              "worker_bytes": 2**27}  # fmt: skip
    store.put("soak/mixed", {**ends, **memory})
    judged = {"claimed_per_s": 50.0, "valid": True, "said": "VALID",
              "latency_s": {"p95": 0.05}, "ends": {"answered": 1500}}  # fmt: skip
    nothing = {"claimed_per_s": None,
               "tried": [{"rate_per_s": 4.0, "reasons": ["too late"]}]}  # fmt: skip
    both = {"memory": judged, "http": nothing}
    store.put("referee/rmc1", {"share": 0.95, "target_s": 0.1, "rows": both})
    rows = {row.id: row for row in report_faults.rows(store)}
    mixed = rows["serve/soak/mixed"]
    assert (mixed.value, mixed.goal, mixed.op) == (1, 0, "==")
    assert "of 10 sent: 6 answered once, 2 shed, 1 refused" in mixed.note
    growth = rows["serve/soak/growth"]
    assert growth.interval == (-1e6, 2e6)
    assert "256 MiB at most" in growth.note
    claim = rows["serve/referee/rmc1/memory"]
    assert claim.value == 1.0
    assert "50 queries a second, p95 within 100 ms; LoadGen: VALID" in claim.note
    assert rows["serve/referee/rmc1/http"].value is None
    assert "nothing is claimed" in rows["serve/referee/rmc1/http"].note
    assert rows["serve/faults/killed"].note == NOT_MEASURED
    assert claims([mixed, growth, claim]).count("**no**") == 1
