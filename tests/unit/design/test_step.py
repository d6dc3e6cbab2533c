"""The stage `design` of a run file."""

import json

import pytest

NET = """
import torch
from torch import nn


def build():
    def conv(i, o, s=1):
        return nn.Sequential(
            nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )
    return nn.Sequential(
        conv(3, 8), nn.Sequential(conv(8, 8), conv(8, 8)), conv(8, 16, 2),
        nn.Sequential(conv(16, 16), conv(16, 16), conv(16, 16)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )


def example_inputs():
    return (torch.zeros(1, 3, 16, 16),)
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "net.py").write_text(NET)

    def write(*lines):
        (tmp_path / "plan.toml").write_text(
            'name = "small"\nnetwork = "net.py"\nmachine = "milan"\noutput = "out"\n'
            + "\n".join(lines)
            + "\n"
        )
        return tmp_path / "out"

    return write


def test_a_run_rewrites_within_the_shares(trimtab, plan):
    out = plan("[design]", 'parameters = "0.6x"', 'level = "kernel"')
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    assert "x the parameters" in done.stdout
    bundle = out / "small.trimtab"
    record = json.loads((bundle / "design.json").read_text("utf-8"))
    assert any(record["rounds"])
    page = (out / "report.html").read_text("utf-8")
    assert "Receptive fields" in page
    assert "What each edit bought" in page
    import torch

    from trimtab.pipeline.load import load

    assert load(bundle)(torch.zeros(1, 3, 16, 16)).shape == (1, 4)


def test_the_budget_of_the_run_limits_the_design(trimtab, plan):
    from tests.unit.design.nets import IMAGE

    from trimtab.design import analyze
    from trimtab.zoo.resolve import resolve

    out = plan("[budget]", "parameters = 6000", "[design]")
    had = analyze(resolve(str(out.parent / "net.py")).module, (IMAGE,)).parameters
    assert had > 6000
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    assert "fits" in done.stdout


def test_level_none_shows_and_changes_nothing(trimtab, plan):
    out = plan("[design]", 'level = "none"')
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    assert "convolutions" in done.stdout
    assert not (out / "small.trimtab" / "design.json").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('parameters = "much"', "neither a quantity above zero nor a share"),
        ('level = "deep"', "level"),
        ('parameters = "0.001x"', "exceeds the limit"),
    ],
)
def test_bad_settings_leave_no_bundle(trimtab, plan, line, said):
    out = plan("[design]", line)
    done = trimtab("run", "plan.toml")
    assert done.returncode in (1, 2)
    assert said in done.stderr + done.stdout
    assert not (out / "small.trimtab").exists()
