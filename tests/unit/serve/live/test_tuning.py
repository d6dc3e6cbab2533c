"""Schedules for the machine that is here."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from tests.unit.serve.live.test_engine import settings

from trimtab.errors import BudgetInfeasibleError, UsageError
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Capacity, Target
from trimtab.serve.curves import ServiceCurve, write
from trimtab.serve.host import Host
from trimtab.serve.live import tuning
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.tuning import accelerator_of, confirm, profiled, proposed
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.verdict import Ran, judge
from trimtab.serve.workload import Workload
from trimtab.stats import Interval

WORK = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("fixed:20"))
TARGET = Target(latency_s=5.0)


def sustains(rate):
    late = Interval(value=0.0, low=0.0, high=0.01, confidence=0.95)
    return Capacity(
        rate_per_s=rate, infeasible="", late_frac=late, latency_s=0.01, busy_frac=0.5,
        trials=1,
    )  # fmt: skip


def test_a_network_is_profiled_and_tried_under_load():
    with Engine(settings(workers=1), Schedule(batch=8)) as engine:
        curve = profiled(engine)
        assert curve.sizes == (1, 8, 32, 128, 512, 1024)
        assert all(each > 0 for each in curve.seconds)
        candidates = [(Schedule(batch=20, coalesce=True), sustains(150.0))]
        (found,) = confirm(engine, candidates, WORK, TARGET, seconds=2.0)
    assert found.report.ends["answered"] == found.report.issued > 250
    assert found.rate_per_s > 0, found.report.reasons


def test_the_best_is_what_is_valid_at_the_largest_rate(monkeypatch):
    # Batch 8 was to sustain most, and does not: what was measured counts.
    most = {8: 20.0, 16: 75.0}
    tried = []

    def run(subject, trace):
        batch = subject.engine.schedule.batch
        tried.append((batch, round(trace.rate_per_s)))
        took = 1.0 if trace.rate_per_s < most[batch] else 9.0
        count = len(trace)
        return Ran(
            latency_s=np.full(count, took), delay_s=np.zeros(count), planned=count,
            ends=np.zeros(count, np.int8), seconds=float(trace.at_s[-1]),
        )  # fmt: skip

    monkeypatch.setattr(tuning, "run", run)
    engine = Engine.__new__(Engine)
    monkeypatch.setattr(Engine, "inputs", ())
    monkeypatch.setattr(Engine, "schedule", None)
    monkeypatch.setattr(tuning, "Drawn", lambda *args, **more: None)
    engine.settings = settings()
    work = replace(WORK, arrivals=parse_arrivals("constant"))
    found = confirm(
        engine,
        [(Schedule(batch=8), sustains(100.0)), (Schedule(batch=16), sustains(80.0))],
        work, TARGET, seconds=20.0,
    )  # fmt: skip
    assert [each.schedule.batch for each in found] == [16, 8]
    assert tried == [
        (8, 100),
        (8, 85),
        (8, 70),
        (8, 55),
        (8, 40),
        (8, 25),
        (16, 80),
        (16, 68),
    ]
    assert found[0].rate_per_s == pytest.approx(68.0, rel=0.01)
    assert found[1].rate_per_s == 0.0
    assert judge(run(type("", (), {"engine": engine}), work.trace(
        rate_per_s=10.0, seed=0, duration_s=30.0)), TARGET).valid  # fmt: skip


def test_schedules_come_from_a_simulation_of_the_profile():
    curve = ServiceCurve(
        network="net", source="test", sizes=(1, 20), seconds=(0.01, 0.02)
    )
    host = Host(curve=curve, workers=2)
    found = proposed(
        host, WORK, Target(latency_s=0.1), best=2, progress=lambda done, text: None
    )
    assert len(found) == 2
    assert found[0][1].rate_per_s >= found[1][1].rate_per_s > 50
    with pytest.raises(BudgetInfeasibleError, match="no batch size keeps it"):
        proposed(
            host, WORK, Target(latency_s=1e-4), best=2,
            progress=lambda done, text: None,
        )  # fmt: skip


def test_an_accelerator_is_a_file_or_known_by_name(tmp_path):
    cpu = ServiceCurve(network="net", source="test", sizes=(1, 9), seconds=(0.1, 0.9))
    engine = cast("Engine", None)  # is asked for cuda alone
    known = accelerator_of(engine, "gtx-1080ti", "wnd", cpu)
    assert known.seconds[0] == pytest.approx(0.1 / 0.47)
    path = tmp_path / "mine.json"
    write(cpu, path)
    assert accelerator_of(engine, str(path), "any", known) == cpu
    with pytest.raises(UsageError, match="known are gtx-1080ti"):
        accelerator_of(engine, "abacus", "wnd", cpu)


def test_cuda_is_profiled():
    class Profiled:
        name, settings = "net", Settings(spec="", opener="", most_items=8)

        def profile(self, sizes, *, device):
            assert device == "cuda"
            return dict.fromkeys(sizes, 0.25)

    cpu = ServiceCurve(network="net", source="test", sizes=(1,), seconds=(0.1,))
    found = accelerator_of(cast("Engine", Profiled()), "cuda", "any", cpu)
    assert (found.sizes, found.seconds) == ((1, 8), (0.25, 0.25))
    assert "cuda alone" in found.source
