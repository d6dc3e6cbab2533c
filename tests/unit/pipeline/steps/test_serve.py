"""The schedule for a target, from the cost model, and what a load shows of it."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from trimtab.compiler.step import STAGE as COMPILE
from trimtab.compiler.step import Settings as CompileSettings
from trimtab.cost.verdict import Budget
from trimtab.errors import BudgetInfeasibleError, PlanError, UsageError
from trimtab.hardware.detect import present
from trimtab.pipeline.steps import serve
from trimtab.pipeline.steps.serve import FILE, STAGE, Settings, predicted_curve
from trimtab.runtime.store import PROGRAM
from trimtab.serve.live.tuning import DISPATCH_S
from trimtab.serve.tuned import read_tuned
from trimtab.training.data import Dataset


@pytest.fixture
def compiled(context, tmp_path, monkeypatch):
    """Make a context whose network has machine code for some batch sizes."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))

    def make(batch_sizes=(1, 4), **parts):
        given = context(**parts)
        result = COMPILE.run(given, CompileSettings(batch_sizes=batch_sizes))
        return context(**parts, files=result.files)

    return make


def test_without_a_target_it_says_what_to_add(context):
    with pytest.raises(PlanError, match=r"p95_latency_s = \"20ms\" to \[budget\]"):
        STAGE.run(context(), Settings())


def test_without_machine_code_it_says_what_to_add(context):
    with pytest.raises(PlanError, match=r"Add \[compile\] with batch_sizes"):
        STAGE.run(context(), Settings(slo="p95=20ms"))


def test_code_for_one_batch_size_cannot_serve(compiled):
    with pytest.raises(PlanError, match="its code is for one batch size"):
        STAGE.run(compiled(batch_sizes=()), Settings(slo="p95=20ms"))


@pytest.mark.parametrize(
    ("key", "value"), [("load", 1.1), ("seconds", 0.0), ("workers", 0)]
)
def test_a_number_out_of_its_bounds_is_refused(key, value):
    with pytest.raises(UsageError, match=f"{key} = "):
        Settings(**{key: value})


def test_between_compiled_sizes_a_batch_takes_its_parts(compiled):
    files = compiled(batch_sizes=(1, 4)).files
    report = json.loads(files[PROGRAM])["report"]
    one, four = (each["latency_s"] for each in report["batches"])
    curve = predicted_curve(files, 6, "tiny", "a machine")
    assert curve.sizes == (1, 2, 3, 4, 5, 6)
    # 2 and 3 are filled up to 4; 5 is 4 and 1, 6 is 4 and 2 that are filled up.
    expected = [one, four, four, four, four + one, four + four]
    assert curve.seconds == pytest.approx(expected)
    assert curve.batch_s(1) == pytest.approx(one + DISPATCH_S)


def test_what_is_decided_rests_on_the_cost_model_alone(compiled, tmp_path):
    given = compiled(budget=Budget(p95_latency_s=0.02))  # of a machine that is not here
    settings = Settings(rate_per_s=100.0, workers=2)
    result = STAGE.run(given, settings)
    assert result.observed_summary == "not confirmed: this host is not milan"
    assert not result.observed
    assert result.network is given.network
    assert 0 < result.values["p95_latency_s"] < 0.02
    assert result.values["throughput_per_s"] > 100
    again = STAGE.run(given, settings)
    assert (again.values, again.sections, again.files) == (
        result.values,
        result.sections,
        result.files,
    )
    place = tmp_path / FILE
    place.write_bytes(result.files[FILE])
    assert read_tuned(place).workers == 2


def test_a_target_that_nothing_keeps_is_infeasible(compiled):
    with pytest.raises(BudgetInfeasibleError, match="no batch size keeps it"):
        STAGE.run(compiled(), Settings(slo="p95=1us"))


def test_the_rate_is_the_budgets_where_the_table_has_none(compiled):
    given = compiled(budget=Budget(p95_latency_s=0.02, throughput_per_s=321.0))
    summary = STAGE.run(given, Settings(confirm=False)).summary
    assert "at 321 queries/s" in summary


def test_a_load_that_came_late_judges_nothing(context):
    late: Any = type("Late", (), {"punctual": False})
    assert serve._verdicts(late, 1.0, context(budget=Budget(p95_latency_s=1.0))) == ()


@pytest.mark.integration
def test_where_the_plan_is_for_this_host_it_is_put_under_load(compiled):
    x = torch.randn(8, 1, 8, 8)
    y = torch.arange(8) % 3
    given = compiled(
        machine=present(),
        budget=Budget(p95_latency_s=5.0, throughput_per_s=40.0),
        data=Dataset(name="few", train=(x, y), test=(x, y), classes=3),
    )
    result = STAGE.run(given, Settings(seconds=1.0, workers=1))
    seen = result.observed["serving"]
    assert seen["workers"] == 1
    assert seen["answered_per_s"] > 0
    assert np.isfinite(list(seen.values())).all()
    batches = result.observed["batches"]
    assert batches["measured_batch_1_s"] > 0
    assert batches["predicted_batch_1_s"] > 0
    assert [section.name for section in result.observed_sections] == ["served"]
    assert "observed" in result.observed_summary
    assert {each.name for each in result.observed_verdicts} <= {
        "p95_latency_s",
        "throughput_per_s",
    }
