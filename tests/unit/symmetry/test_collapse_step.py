"""The stage `collapse` of a run file, behind a stage that trains what is tied."""

import json

import pytest
from tests.unit.symmetry.test_step import plan  # noqa: F401 - a fixture

from trimtab.bundle.store import read


@pytest.fixture
def tied(plan):  # noqa: F811
    """Write a plan that trains tied weights, and then writes them out."""
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(
        f"{text}examples = 40\ntied = true\n[train]\nepochs = 1\nthreads = 1\n"
        "[collapse]\n"
    )
    return plan


def test_what_is_tied_is_trained_and_then_written_out(trimtab, tied):
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["notes"] == []
    values = {each["stage"]: each["values"] for each in record["stands"]}
    # The same scores: the same answers, whatever the rounding.
    assert values["collapse"]["accuracy_frac"] == values["train"]["accuracy_frac"]
    plain = values["collapse"]["parameters"]
    assert values["train"]["parameters"] == values["symmetry"]["parameters"] < plain
    bundle = read(tied / record["bundle"])
    assert not any("Tied" in node.module_type for node in bundle.graph.nodes)
    (said,) = (
        stage["summary"] for stage in record["stages"] if stage["name"] == "collapse"
    )
    assert f"written out as {plain} weights, the same scores" in said
    before = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    done = trimtab("run", "plan.toml", "--json", "--overwrite")
    again = json.loads(done.stdout)
    assert [stage["kept"] for stage in again["stages"]] == [True, True, True]
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == before


def test_a_plain_network_cannot_be_made_plain(trimtab, plan):  # noqa: F811
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(f"{text}[collapse]\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "this one is plain" in done.stderr
    assert "Write tied = true there" in done.stderr
