from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import prepare
from trimtab.errors import UsageError


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
    assert text.startswith("batch 4: 100 % of the predicted ")


class Scaled(nn.Module):
    """Tasks of no module, a default schedule and one of PyTorch's."""

    def forward(self, x):
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return torch.sort(torch.relu(x))[0]


@pytest.fixture(scope="module")
def scaled():
    return prepare(
        Scaled().eval(), (torch.zeros(1, 3, 8, 8),), machine="milan",
        batch_sizes=[1, 4], cache=False,
    )  # fmt: skip


def test_a_default_schedule_says_what_it_was_compared_with(scaled):
    one, four = scaled.explain("upsample_bilinear2d")
    for batch, text in ((1, one), (4, four)):
        told = next(
            each for each in scaled.report["batches"] if each["batch"] == batch
        )["tasks"][0]
        assert text.startswith(f"batch {batch}: ")
        assert f"aten.upsample_bilinear2d.vec: default schedule {told['function']}" in (
            text
        )
        assert f"float32[{batch},3,8,8]" in text
        assert "PyTorch  " in text
        assert "it takes no longer" in text


def test_what_is_left_to_pytorch_says_why(scaled):
    text = scaled.explain("sort")[0]
    assert "aten.sort.default: PyTorch" in text
    assert "left to PyTorch: there is no formula for aten.sort.default" in text


def test_names_that_are_offered_can_be_explained(scaled):
    with pytest.raises(UsageError, match="no task computes") as caught:
        scaled.explain("nosuch")
    names = str(caught.value).split("ame one of ")[1].rstrip(".").split(", ")
    assert names == ["upsample_bilinear2d", "relu", "sort"]
    for name in names:
        assert scaled.explain(name)
    with pytest.raises(UsageError, match="ame one of upsample_bilinear2d"):
        scaled.explain("upsample_bilinear")


def test_every_batch_size_is_explained():
    made = prepare(
        nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), (torch.zeros(2, 8),),
        machine="milan", batch_sizes=[2, 4], cache=False,
    )  # fmt: skip
    texts = made.explain("0")
    assert [text.split(":")[0] for text in texts] == ["batch 2", "batch 4"]
    for before, after in pairwise(texts):
        assert before != after
