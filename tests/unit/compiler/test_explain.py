import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import prepare


def test_loops_limits_footprints_and_code():
    module = nn.Sequential(nn.Linear(32, 64), nn.ReLU()).eval()
    made = prepare(module, (torch.zeros(4, 32),), machine="milan", cache=False)
    (text,) = made.explain("0")
    tuned = next(iter(made.built.tuned.values()))
    point = tuned.chosen.point
    sums = point.rows * point.columns * point.vectors
    assert f"{sums} sums" in text
    assert f"chosen from {tuned.judged} schedules" in text
    # All of the weights, outside of all loops: 32 x 64 numbers of four bytes.
    assert "weight 8.00 KiB" in text
    assert "max(0.0, acc" in text
    assert "vfmadd231ps" in text
    assert "limits in cycles a pass" in text
