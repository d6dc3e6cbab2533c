"""The stage `relax` of a run file."""

import json

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.relax.rounds import Equilibrated
from trimtab.relax.step import DEFAULTS, Settings, optimizer_of

PLAN = """
name = "small"
network = "net.py"
machine = "milan"
output = "out"
data = "corners.npz"
[relax]
epochs = 3
batch_size = 10
steps = 4
"""


@pytest.fixture
def plan(tmp_path):
    import numpy as np
    from tests.unit.symmetry.nets import corners
    from tests.unit.symmetry.test_step import NET

    data = corners(count=80)
    (tmp_path / "net.py").write_text(NET)
    arrays = {
        "x_train": data.train[0].numpy(), "y_train": data.train[1].numpy(),
        "x_test": data.test[0].numpy(), "y_test": data.test[1].numpy(),
    }  # fmt: skip
    np.savez(tmp_path / "corners.npz", **arrays)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_a_run_trains_counts_and_shows(trimtab, plan):
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    stage = json.loads(done.stdout)["stages"][0]
    assert stage["summary"].startswith("local-entropy, 12 gradients in 3 rounds")
    page = (plan / "out" / "report.html").read_text("utf-8")
    for title in ("Equilibration of rounds", "Flatness, of 40 training examples"):
        assert title in page


def test_equal_seeds_give_equal_bundles(trimtab, plan):
    text = PLAN.replace("steps = 4", "steps = 4\ntemperature = 1e-4\nflatness = false")
    weights = []
    for number in range(2):
        (plan / "plan.toml").write_text(text.replace('"out"', f'"out{number}"'))
        done = trimtab("run", "plan.toml")
        assert done.returncode == 0, done.stderr
        bundle = plan / f"out{number}" / "small.trimtab"
        weights.append((bundle / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('relaxation = "nothing"', "relax.relaxation"),
        ("gamma = -1.0", "gamma"),
        ("growth = 0.5", "growth"),
        ('relaxation = "hopf-lax"\ntemperature = 1.0', "not used"),
    ],
)
def test_bad_keys_are_refused(trimtab, plan, line, said):
    (plan / "plan.toml").write_text(PLAN.replace("[relax]", f"[relax]\n{line}"))
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert said in done.stderr
    assert not (plan / "out").exists()


def test_every_relaxation_has_defaults_that_run():
    for relaxation in DEFAULTS:
        x = nn.Parameter(torch.ones(2))
        opt = optimizer_of(Settings(relaxation=relaxation), [x], seed=0)
        for _ in range(3 * opt.steps):
            x.grad = 0.1 * x.detach()
            opt.step()
        assert opt.rounds == 3
        opt.settle()
        assert x.norm() < 2**0.5


def test_keys_reach_the_optimizers():
    x = nn.Parameter(torch.ones(2))
    settings = Settings(
        steps="equilibrated", gamma=0.2, growth=2.0, most_gamma=0.5, inner_rate=0.3,
        inner_momentum=0.0, outer_rate=0.7, outer_momentum=0.5, weight_decay=0.01,
        temperature=1e-3,
    )  # fmt: skip
    opt = optimizer_of(settings, [x], seed=3)
    assert isinstance(opt.length, Equilibrated)
    assert [opt.scope.at(done) for done in range(3)] == [0.2, 0.4, 0.5]
    assert opt.inner is not None
    inner, outer = opt.inner.param_groups[0], opt.outer.param_groups[0]
    assert (inner["lr"], inner["momentum"], inner["weight_decay"]) == (0.3, 0.0, 0.01)
    assert (outer["lr"], outer["momentum"], outer["weight_decay"]) == (0.7, 0.5, 0.0)
    assert opt.temperature == 1e-3
    assert opt.scheduled is opt.outer.param_groups


def test_gamma_may_not_shrink():
    x = nn.Parameter(torch.ones(2))
    with pytest.raises(UsageError, match="growth"):
        optimizer_of(Settings(growth=0.9), [x], seed=0)
    with pytest.raises(UsageError, match="most_gamma"):
        optimizer_of(Settings(gamma=1.0, most_gamma=0.5), [x], seed=0)
