import math
from pathlib import Path

import pytest

from trimtab.cost.verdict import Budget
from trimtab.errors import PlanError
from trimtab.pipeline.plan import load_plan, parse_plan

KNOWN = {"inspect", "train", "verify"}


def plan_of(record, known=KNOWN):
    return parse_plan(record, known, folder=Path(), where="plan.toml")


def test_defaults():
    plan = plan_of({"network": "zoo:lenet5"})
    assert (plan.name, plan.machine, plan.threads, plan.seed) == ("run", "this", 1, 0)
    assert plan.budget == Budget()
    assert plan.stages == {}


def test_units_in_text_and_plain_numbers_mean_the_same():
    text = {"parameters": "1.5k", "latency_s": "2ms", "weight_bytes": "3KiB"}
    plain = {"parameters": 1500, "latency_s": 0.002, "weight_bytes": 3 * 1024}
    network = {"network": "zoo:lenet5"}
    assert plan_of({**network, "budget": text}) == plan_of({**network, "budget": plain})


def test_stage_tables_are_kept_apart():
    plan = plan_of({"network": "n", "train": {"epochs": 3}, "verify": {}})
    assert plan.stages == {"train": {"epochs": 3}, "verify": {}}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "network: field required"),
        ({"network": "n", "netwrok": "m"}, "netwrok: no such key"),
        ({"network": "n", "budget": {"params": 1}}, "budget.params: no such key"),
        ({"network": "n", "threads": 0}, "threads: input should be greater"),
        ({"network": "n", "budget": {"latency_s": "5 apples"}}, "budget.latency_s"),
        ({"network": "n", "budget": {"accuracy_frac": 95}}, "budget.accuracy_frac"),
        ({"network": "n", "name": "../x"}, "name: string should match"),
        ({"network": "n", "trian": {"epochs": 1}}, "trian: no such key"),
        ({"network": "n", "threads": True}, "threads: input should be a valid integer"),
        ({"network": "n", "budget": {"latency_s": True}}, "budget.latency_s: true"),
        ({"network": "n", "budget": {"latency_s": math.inf}}, "budget.latency_s"),
    ],
)
def test_wrong_keys_and_values_are_named(record, message):
    with pytest.raises(PlanError) as caught:
        plan_of(record)
    assert message in str(caught.value)
    assert "plan.toml" in str(caught.value)
    # What may stand there is told.
    allowed = "accuracy_frac" if message.startswith("budget") else "[train]"
    assert allowed in str(caught.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(PlanError, match=r"(?s)seed:.*threads:|threads:.*seed:"):
        plan_of({"network": "n", "threads": 0, "seed": -1})


def test_arguments_beat_the_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('network = "zoo:lenet5"\nseed = 1\nthreads = 2\n')
    plan = load_plan(path, {"seed": 7, "threads": None}, KNOWN)
    assert (plan.seed, plan.threads) == (7, 2)
    assert plan.folder == tmp_path


def test_a_file_that_is_absent_or_no_toml(tmp_path):
    with pytest.raises(PlanError, match="No such file"):
        load_plan(tmp_path / "none.toml", {}, KNOWN)
    path = tmp_path / "plan.toml"
    path.write_text("network = \n")
    with pytest.raises(PlanError, match="it is no TOML"):
        load_plan(path, {}, KNOWN)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="no UTF-8"):
        load_plan(path, {}, KNOWN)


def test_the_resolved_plan_does_not_name_the_output():
    # The same plan gives the same bundle wherever it is written.
    first = plan_of({"network": "n", "output": "a"})
    second = plan_of({"network": "n", "output": "b"})
    assert first.resolved() == second.resolved()


@pytest.mark.parametrize("key", ["inspect", "budget"])
def test_what_must_be_a_table_is_told(key):
    with pytest.raises(PlanError, match=rf"\[{key}\] is a table"):
        plan_of({"network": "n", key: 3})
