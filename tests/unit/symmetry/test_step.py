"""The stage `symmetry` of a run file."""

import json

import numpy as np
import pytest
import torch

NET = """
import torch
from torch import nn


def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        nn.Linear(8, 2),
    )


def example_inputs():
    return (torch.zeros(1, 1, 8, 8),)
"""


@pytest.fixture
def plan(tmp_path):
    from tests.unit.symmetry.nets import corners

    data = corners(count=80)
    (tmp_path / "net.py").write_text(NET)
    arrays = {
        "x_train": data.train[0].numpy(), "y_train": data.train[1].numpy(),
        "x_test": data.test[0].numpy(), "y_test": data.test[1].numpy(),
    }  # fmt: skip
    np.savez(tmp_path / "corners.npz", **arrays)
    (tmp_path / "plan.toml").write_text(
        'name = "small"\nnetwork = "net.py"\nmachine = "milan"\noutput = "out"\n'
        'data = "corners.npz"\n[symmetry]\nfamily = "flips"\nsteps = 40\n'
    )
    return tmp_path


def test_a_run_hands_on_a_plain_network(trimtab, plan):
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    bundle = plan / "out" / "small.trimtab"
    record = json.loads((bundle / "symmetry.json").read_text("utf-8"))
    assert record["schemes"][0]["scheme"] == "none"
    page = (plan / "out" / "report.html").read_text("utf-8")
    assert "Predictions that change when an image is turned" in page
    from trimtab.pipeline.load import load

    assert load(bundle)(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_a_small_network_chooses_for_one_that_is_trained_later(trimtab, plan):
    text = (plan / "plan.toml").read_text() + 'judge = "small"\n'
    (plan / "plan.toml").write_text(text + "[relax]\nepochs = 1\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "Give tied = true" in done.stderr
    (plan / "plan.toml").write_text(text + "tied = true\n[collapse]\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "no stage trains them" in done.stderr
    text += "tied = true\n[relax]\nepochs = 2\nflatness = false\n[collapse]\n"
    (plan / "plan.toml").write_text(text)
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    bundle = plan / "out" / "small.trimtab"
    record = json.loads((bundle / "symmetry.json").read_text("utf-8"))
    assert record["scheme"] in {each["scheme"] for each in record["schemes"]}
    # Another training begins from the same ties.
    (plan / "plan.toml").write_text(text.replace("epochs = 2", "epochs = 1"))
    again = trimtab("run", "plan.toml", "--json", "--overwrite")
    assert again.returncode == 0, again.stderr
    from trimtab.pipeline.load import load

    assert load(bundle)(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_a_run_needs_data(trimtab, plan):
    text = (plan / "plan.toml").read_text().replace('data = "corners.npz"\n', "")
    (plan / "plan.toml").write_text(text)
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "stage [symmetry]: it needs data" in done.stderr
