"""`trimtab train`: one training of a plan, by the optimizer of one's choice."""

import json

import pytest
from tests.unit.relax.test_step import plan  # noqa: F401 - a fixture


def trained(trimtab, *options):
    done = trimtab("train", "plan.toml", "--overwrite", "--json", *options)
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)["stages"]
    assert len(stages) == 1
    return stages[0]


@pytest.mark.parametrize("optimizer", ["hopf-lax", "heat", "hopf-lax-fixed-point"])
def test_an_optimizer_on_the_command_line_beats_the_file(trimtab, plan, optimizer):  # noqa: F811
    stage = trained(trimtab, "--optimizer", optimizer)
    assert stage["name"] == "relax"
    assert stage["summary"].startswith(f"{optimizer}, 12 gradients")


def test_a_plain_optimizer_takes_the_stage_train(trimtab, plan):  # noqa: F811
    stage = trained(trimtab, "--optimizer", "adamw")
    assert stage["name"] == "train"
    assert stage["summary"].startswith("3 epochs")


def test_without_one_the_file_decides(trimtab, plan):  # noqa: F811
    assert trained(trimtab)["summary"].startswith("local-entropy, 12 gradients")
    assert "4 gradients" in trained(trimtab, "--epochs", "1")["summary"]


def test_numbers_of_train_are_those_of_relax(trimtab, plan):  # noqa: F811
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(
        text[: text.index("[relax]")] + "[inspect]\n[train]\nepochs = 2\n"
        'batch_size = 40\noptimizer = "adamw"\nlearning_rate = 0.01\n'
    )
    assert trained(trimtab)["summary"].startswith("2 epochs")
    summary = trained(trimtab, "--optimizer", "local-entropy")["summary"]
    assert summary.startswith("local-entropy, 2 gradients in 1 rounds")


def test_an_unknown_optimizer_is_refused(trimtab, plan):  # noqa: F811
    done = trimtab("train", "plan.toml", "--optimizer", "magic")
    assert done.returncode == 1
    assert "local-entropy" in done.stderr
