"""The benchmark of divided networks: points, fit, and what its rows claim."""

import itertools

import numpy as np
import pytest
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.partition import fit, report
from benchmarks.partition.bed import another_cut
from benchmarks.partition.calibrate import FIT, NETWORKS, TEST, points
from benchmarks.partition.faults import SCENARIOS
from benchmarks.partition.fuzz import _Frames
from benchmarks.partition.memory import LEVELS
from benchmarks.results import met
from tests.unit.partition.live.nets import controller, made

from trimtab.errors import DataError
from trimtab.partition.live.wire import Incoming, Kind, Reader, parse_head


def test_points_fill_their_ranges_and_those_to_predict_are_others():
    found = points(7, 20, seed=3)
    assert found == points(7, 20, seed=3)
    assert found != points(7, 20, seed=4)
    for use in (FIT, TEST):
        mine = [each for each in found if each.used_for == use]
        assert len(mine) == 20
        assert {each.index for each in mine} == set(range(7))
        assert sum(each.index == 6 for each in mine) == 2  # the edge alone
        # One in each twentieth of a range, on a logarithmic scale.
        low, high = 2e6 / 8, 100e6 / 8
        places = {
            int(20 * np.log(each.uplink_bytes_per_s / low) / np.log(high / low))
            for each in mine
        }
        assert places == set(range(20))
        assert all(0.002 <= each.rtt_s <= 0.1 for each in mine)
        assert all(1 <= each.cloud_slowdown <= 4 for each in mine)
    assert len({each.rtt_s for each in found}) == 40
    assert [each.used_for for each in found] != sorted(each.used_for for each in found)


def records(truth, count, seed, noise=0.0):
    drawn = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        away = drawn.random() < 0.8
        rtt, sent = drawn.uniform(0.002, 0.1), drawn.uniform(0.01, 1.0)
        slow = drawn.uniform(1, 6, 2)
        edge, cloud = drawn.uniform(0.01, 0.5, 2)
        parts = [edge, away * (sent + rtt), away * cloud]
        row = [edge, away * cloud, away * sent, away * rtt, away * slow[1],
               away * slow[0], (1 - away) * slow[0]]  # fmt: skip
        latency = float(np.dot(row, truth)) * np.exp(noise * drawn.normal(size=5))
        made.append(
            {"parts": parts, "rtt_s": rtt, "edge_slowdown": slow[0],
             "cloud_slowdown": slow[1], "latency_s": list(latency)}
        )  # fmt: skip
    return made


def test_the_fit_finds_the_factors_that_points_were_made_with():
    truth = [1.1, 0.9, 1.05, 1.2, 0.002, 0.003, 0.001]
    assert fit.factors(records(truth, 20, 0)) == pytest.approx(truth)
    found = fit.factors(records(truth, 20, 0, noise=0.02))
    errors = fit.errors(records(truth, 20, 1), found)
    assert np.median(errors) < 0.03
    # The formula alone does not know of the round trip's fifth.
    assert np.median(fit.plain(records(truth, 20, 1))) > np.median(errors)


def test_what_was_not_measured_is_a_row_without_a_value(tmp_path):
    rows = report.all_rows(Store(tmp_path))
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.value is None for row in rows)
    assert [row for row in rows if row.note == NOT_MEASURED]
    jobs = [*report.jobs(), *report.quick_jobs()]
    assert len({job.key for job in report.jobs()}) == len(report.jobs())
    assert {job.key.split("/")[0] for job in jobs} == {
        "wire", "faults", "fuzz", "calibrate", "memory", "policies", "study",
    }  # fmt: skip


def test_rows_claim_what_the_results_say(tmp_path):
    store = Store(tmp_path)
    store.put(
        "wire/loopback",
        {"wall_s": [0.003] * 9, "edge_cpu_s": [0.001] * 9, "cloud_cpu_s": 0.001},
    )
    outcome = {
        "asked": 100, "lost": 0, "wrong": 0, "duplicate": 0, "back_s": 1.0,
        "edge": {"remote": 50, "local": 40, "fallback": 5, "hedge_won": 5},
        "link": "a proxy",
        "resident_bytes": [10, 2_000_010], "let_in": 0, "lorises": 64, "shown_out": 63,
    }  # fmt: skip
    for name in SCENARIOS:
        store.put(f"faults/{name}", {**outcome, "wrong": int(name == "killed")})
    store.put(
        "fuzz/frames",
        {**outcome, "frames": 100_001, "harmful": 9, "ended": 9, "cloud_cpu_s": 5.0},
    )
    truth = [1.1, 0.9, 1.05, 1.2, 0.002, 0.003, 0.001]
    for name in NETWORKS:
        every = [
            {**each, "used_for": use}
            for use, seed in ((FIT, 0), (TEST, 1))
            for each in records(truth, 20, seed)
        ]
        store.put(f"calibrate/{name}", {"records": every, "load": 1.0})
    levels = dict(zip(LEVELS, (1.0, 1.5, 2.0, 3.0), strict=True))
    store.put("memory/alexnet", {"network": "alexnet", "cpu_s": levels})
    rows = {row.id.removeprefix("partition/"): row for row in report.all_rows(store)}
    assert rows["wire/wall"].value == pytest.approx(0.003 / 0.048)
    assert rows["faults/lost"].value == 0
    assert rows["faults/wrong"].value == 1
    assert rows["faults/shown-out"].value == 1
    assert rows["faults/memory"].value == 2_000_000
    assert rows["calibrate/error"].value == pytest.approx(0, abs=1e-9)
    assert rows["calibrate/points"].value == 20
    assert rows["memory/alexnet"].value == 3.0 / 1.5
    assert rows["memory/vgg16"].value is None
    missed = {
        name for name, row in rows.items()
        if row.value is not None
        and met({"op": row.op, "value": row.value, "goal": row.goal}) is False
    }  # fmt: skip
    assert missed == {"faults/wrong", "faults/shown-out"}


def test_cuts_are_taken_in_turn():
    _, halves = made()
    control = controller(halves)
    another_cut(control)
    taken = [control.decide(0.0).index for _ in range(2 * len(halves.cuts))]
    away = np.flatnonzero(~control.space.local)
    assert set(taken) == set(away)
    assert all(one != two for one, two in itertools.pairwise(taken))
    control.connected = False
    assert control.space.local[control.decide(0.0).index]


def test_harmless_frames_keep_to_the_rules_and_harmful_ones_do_not():
    _, halves = made(("raw",))
    frames = _Frames(halves, 0)
    for _ in range(500):
        coming = {}
        for each in Reader().feed(b"".join(frames.harmless())):
            if each.kind is Kind.REQUEST:
                coming[each.request] = halves.expect(parse_head(each.body))
            elif each.kind is Kind.CHUNK:
                coming[each.request].add(each.body)
    for _ in range(500):
        assert _harm(halves, frames.harmful())


def _harm(halves, data):
    """Return whether a cloud would end the connection over it."""
    coming: dict[int, Incoming] = {}
    try:
        for each in Reader().feed(data):
            if each.kind is Kind.REQUEST and each.request not in coming:
                coming[each.request] = halves.expect(parse_head(each.body))
            else:
                return True
    except DataError:
        return True
    return False
