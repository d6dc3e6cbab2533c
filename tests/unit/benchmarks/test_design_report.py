"""Rows of the design benchmark from what is stored."""

import math

import pytest
from benchmarks.design import report
from benchmarks.design.fields import KNOWN, SUPPORTED
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.results import met


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "digest", lambda base, name, seed: "same")
    return Store(tmp_path)


def rows_of(store):
    return {row.id: row for row in report.all_rows(store)}


def test_nothing_is_measured_before_it_is(store):
    for row in report.all_rows(store):
        assert row.value is None, row.id
        if row.op:
            assert met({"op": row.op, "value": row.value, "goal": row.goal}) is False


def test_fields_and_supports_are_counted(store):
    exact = {"traced": 9, "gradient": 9, "same": [True, True]}
    store.put(
        "fields/torchvision",
        {
            "known": {**KNOWN, "vgg16": 7},
            "support": {
                **dict.fromkeys(SUPPORTED, exact),
                "vgg11": {**exact, "traced": 8},
            },
            "resnet50_s": [0.3, 0.2, 0.4],
        },
    )
    rows = rows_of(store)
    assert rows["design/fields/known"].value == len(KNOWN) - 1
    assert "vgg16 7, not 196" in rows["design/fields/known"].note
    assert rows["design/fields/support"].value == len(SUPPORTED) - 1
    assert rows["design/time/resnet50"].value == 0.3


def training(accuracy, design="same"):
    return {"accuracy": [0.1, accuracy], "cpu_s": 2.0, "design": design}


def search(**more):
    costs = {"parameters": 100, "multiply_adds": 1000, "score": 1.0}
    found = {
        name: {**costs, "parameters": 40, "judged": 7, "cpu_s": 3.0, "robust": True}
        for name in ("stage", "kernel", "both")
    }
    return {"designs": {"original": costs, **found, "random both": [costs], **more}}


def test_gains_are_of_pairs(store):
    store.put("search/resnet", search())
    for seed in range(3):
        store.put(f"train/resnet/original/{seed}", training(0.5 + 0.1 * seed))
        store.put(f"train/resnet/both/{seed}", training(0.52 + 0.1 * seed))
    # Without a pair, and of other edits: left out.
    store.put("train/resnet/both/3", training(0.9))
    store.put("train/resnet/original/4", training(0.1))
    store.put("train/resnet/both/4", training(0.9, design="other"))
    rows = rows_of(store)
    row = rows["design/headline/resnet/both"]
    assert row.value == pytest.approx(2.0)
    assert "3 pairs" in row.note
    assert "0.40x the parameters" in row.note
    assert rows["design/headline/resnet/both/parameters"].value == pytest.approx(0.6)
    assert rows["design/headline/resnet/stage"].note == NOT_MEASURED
    note = rows["design/headline/resnet/search"].note
    assert "7 designs judged" in note
    assert "14.0 s for as many" in note


def test_a_table_of_networks_becomes_correlations(store):
    networks = [
        {
            "accuracy": {"cifar10": 50.0 + i}, "score": float(i), "entropy": i % 7.0,
            "parameters": (7 * i) % 30, "multiply_adds": (11 * i) % 30, "proxies": {},
            "seconds": 0.5,
        }
        for i in range(30)
    ]  # fmt: skip
    networks[0]["score"] = -math.inf
    store.put("table/nasbench101/0", {"networks": networks})
    rows = rows_of(store)
    assert rows["design/rank/nasbench101/cifar10/S"].value == pytest.approx(1.0)
    ahead = rows["design/rank/nasbench101/cifar10/ahead"]
    assert ahead.value is not None
    assert ahead.value > 0
    assert ahead.goal == 0


def test_the_tables_are_written_between_the_markers(store, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(
        "before\n<!-- results: written by the command -->\nold\n"
        "<!-- end of results -->\nafter\n"
    )
    report.fill(page, report.all_rows(store), "head")
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "| receptive fields" in text
