"""What the page shows, from what an engine and a controller say."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("prometheus_client")

from trimtab.runtime.dashboard.metrics import text
from trimtab.serve.capacity import Target
from trimtab.serve.control import Decision
from trimtab.serve.live.view import View
from trimtab.serve.schedule import Schedule

COUNTS = (
    "queries",
    "answers",
    "shed",
    "late",
    "failed",
    "batches",
    "joined",
    "again",
    "offloaded",
)
DECISION = Decision(
    at_s=0.0, action="step", schedule=Schedule(batch=96), rate_per_s=50.0, cv2=1.0,
    mean_items=276.0, slowdown=1.0, oldest_s=0.0, seen_s=0.02, predicted_s=0.03,
    best_batch=128, best_s=0.02, why="towards batch 128",
)  # fmt: skip


def side(*, workers=2, old=False, log=(), steered=True, batch=64):
    known = {
        **dict.fromkeys(COUNTS, 0), "answers": 7, "shed": 3, "open": 1,
        "workers": workers, "restarts": 0, "backlog_s": 0.2, "oldest_s": 0.1,
        "schedule": {"batch": batch, "threshold": None, "shed": False},
    }  # fmt: skip
    return SimpleNamespace(
        engine=SimpleNamespace(state=lambda: known),
        target=Target(latency_s=0.1, share=0.99),
        steered=steered,
        old=old,
        log=log,
    )


def test_the_tail_stands_beside_its_target():
    view = View(side(), "Best in a simulation.")
    assert (view.state().status, view.state().tone) == ("ready, nobody asks", "plain")
    for _ in range(20):
        view.answered(0.25, 200)
    state = view.state()
    assert (state.status, state.tone) == ("p99 250 ms, misses 100 ms", "bad")
    assert state.headline == "Batch 64"
    assert state.reasons == ("Best in a simulation.",)
    tiles = {tile.name: tile for tile in state.tiles}
    assert (tiles["p99 latency"].value, tiles["p99 latency"].tone) == (0.25, "bad")
    assert tiles["target"].value == 0.1
    assert b"trimtab_serve_latency_p99_seconds 0.25" in text("trimtab_serve", state)
    assert b"trimtab_serve_shed_total 3.0" in text("trimtab_serve", state)


def entries(state):
    (log,) = (block for block in state.blocks if block.kind == "log")
    return log.entries


def test_changes_are_told_with_when_and_why():
    log: list[Decision] = []
    view = View(side(old=True, log=log), "First.")
    assert [(each.what, each.why) for each in entries(view.state())] == [
        ("batch 64", "First.")
    ]
    at_s = time.monotonic()
    log += [replace(DECISION, at_s=at_s), replace(DECISION, at_s=at_s, action="keep")]
    state = view.state()
    newest, _ = entries(state)
    assert newest.what == "batch 64 → batch 96"
    assert newest.why == (
        "Towards batch 128. p99 20.0 ms seen, 30.0 ms predicted at 50 queries a second "
        "of 276 items; batch 128 would have 20.0 ms."
    )
    assert -5.0 < newest.when_s <= 0.0
    assert state.reasons[0] == newest.why
    assert state.reasons[1].startswith("Last look: Towards")
    assert "would be late is refused" in state.reasons[-1]
    strip = next(block for block in state.blocks if block.kind == "strip")
    assert [span.name for span in strip.spans] == ["batch 64", "batch 96"]
    assert len(entries(view.state())) == 2  # each decision is told once
    json.dumps(state.record(), allow_nan=False)


def test_a_schedule_that_somebody_else_sets_is_told_as_that():
    given = side(steered=False)
    view = View(given, "First.")
    given.engine.state()["schedule"]["batch"] = 32
    state = view.state()
    assert entries(state)[0].what == "batch 64 → batch 32"
    assert state.reasons == ("It was set from outside.", "It stays, whatever comes.")


def test_what_happens_to_queries_and_workers_is_told():
    given = side()
    view = View(given, "First.")
    view.state()
    known = given.engine.state()
    known.update(shed=5, late=1, failed=2, restarts=1)
    given.steered = False
    told = {each.what: each for each in entries(view.state())}
    assert told["refused"].times == 2 + 1
    assert (told["failed"].times, told["failed"].tone) == (2, "bad")
    assert told["worker lost"].times == 1
    assert "controller failed" in told["no more changes"].why


def test_refusals_and_no_workers_are_seen():
    view = View(side(workers=0), "First.")
    view.answered(0.1, 429)
    view.answered(0.1, 503)
    state = view.state()
    assert state.tone == "bad"
    assert "no worker" in state.status
    tiles = {tile.name: tile for tile in state.tiles}
    assert (tiles["HTTP 4xx"].value, tiles["HTTP 5xx"].tone) == (1, "bad")
