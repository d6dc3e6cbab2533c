import pytest

from trimtab.errors import PlanError
from trimtab.pipeline.plan import parse_plan
from trimtab.pipeline.run import STAGES, run


def plan_of(tmp_path, **record):
    return parse_plan(
        {"network": "zoo:lenet5", "output": str(tmp_path / "out"), **record},
        set(STAGES),
        folder=tmp_path,
        where="plan.toml",
    )


def test_every_stage_that_is_here_has_settings_and_run():
    import importlib

    for place in STAGES.values():
        module, _, attribute = place.partition(":")
        stage = getattr(importlib.import_module(module), attribute)
        assert callable(stage.run)
        assert isinstance(stage.settings, type)


def test_a_plan_without_stages_says_which_there_are(tmp_path):
    with pytest.raises(PlanError, match=r"\[inspect\]"):
        run(plan_of(tmp_path))


def test_a_stage_that_is_not_built_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(STAGES, "ghost", "trimtab.ghost.step:STAGE")
    with pytest.raises(PlanError, match="does not have it"):
        run(plan_of(tmp_path, ghost={}))


def test_progress_and_result_name_every_stage(tmp_path):
    seen = []
    result = run(
        plan_of(tmp_path, machine="milan", inspect={}, verify={"measure": False}),
        progress=lambda stage, done, text: seen.append((stage, done)),
    )
    assert [name for name, _ in result.stages] == ["inspect", "verify"]
    assert {("inspect", 1.0), ("verify", 1.0), ("bundle", 1.0)} <= set(seen)
    assert result.report.is_file()
    assert result.bundle.name == "run.trimtab"
