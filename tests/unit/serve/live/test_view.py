"""What the page shows, from what an engine and a controller say."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("prometheus_client")

from trimtab.runtime.dashboard.metrics import text
from trimtab.serve.capacity import Target
from trimtab.serve.control import Decision
from trimtab.serve.live.view import View
from trimtab.serve.schedule import Schedule

COUNTS = ("queries", "answers", "shed", "late", "failed", "batches", "joined", "again")
DECISION = Decision(
    at_s=1.0, action="step", schedule=Schedule(batch=96), rate_per_s=50.0, cv2=1.0,
    mean_items=276.0, slowdown=1.0, oldest_s=0.0, seen_s=0.02, predicted_s=0.03,
    best_batch=128, best_s=0.02, why="towards batch 128",
)  # fmt: skip


def side(*, workers=2, old=False, log=()):
    known = {
        **dict.fromkeys(COUNTS, 0), "answers": 7, "shed": 3, "open": 1,
        "workers": workers, "restarts": 0, "backlog_s": 0.2, "oldest_s": 0.1,
        "schedule": {"batch": 64, "shed": False},
    }  # fmt: skip
    return SimpleNamespace(
        engine=SimpleNamespace(state=lambda: known),
        target=Target(latency_s=0.1, share=0.99),
        steered=True,
        old=old,
        log=log,
    )


def test_the_tail_stands_beside_its_target():
    view = View(side(), "Best in a simulation.")
    assert view.state().tone == "good"
    for _ in range(20):
        view.answered(0.25, 200)
    state = view.state()
    assert (state.status, state.tone) == ("p99 250 ms, target 100 ms", "bad")
    assert state.headline == "Batch 64"
    assert state.reasons == ("Best in a simulation.",)
    tiles = {tile.name: tile for tile in state.tiles}
    assert tiles["p99 latency"].value == 0.25
    assert tiles["target"].value == 0.1
    assert b"trimtab_serve_latency_p99_seconds 0.25" in text("trimtab_serve", state)
    assert b"trimtab_serve_shed_total 3.0" in text("trimtab_serve", state)


def test_why_is_said_and_decisions_are_listed():
    state = View(side(old=True, log=[DECISION, DECISION]), "First.").state()
    assert "towards batch 128" in state.reasons[1]
    assert "50" in state.reasons[1]
    assert "would be late is refused" in state.reasons[2]
    table = state.record()["blocks"][-1]
    assert table["rows"][0][1:3] == ["step", 96]
    json.dumps(state.record(), allow_nan=False)


def test_refusals_and_no_workers_are_seen():
    view = View(side(workers=0), "First.")
    view.answered(0.1, 429)
    view.answered(0.1, 503)
    state = view.state()
    assert state.tone == "bad"
    assert "no worker" in state.status
    tiles = {tile.name: tile for tile in state.tiles}
    assert (tiles["HTTP 4xx"].value, tiles["HTTP 5xx"].tone) == (1, "bad")
