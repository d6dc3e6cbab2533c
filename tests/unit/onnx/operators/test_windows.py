import numpy as np
import pytest
import torch
from tests.unit.onnx.conftest import cases, refused, run

from trimtab.onnx.operators.table import Operation
from trimtab.onnx.operators.windows import paddings

CASES = cases(
    "averagepool", "basic_conv", "conv_with", "convtranspose", "globalaveragepool",
    "globalmaxpool", "maxpool",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if "argmax" in case.name:
        refused(case, tmp_path, "where the largest are")
    elif case.name.startswith("test_averagepool") and "dilations" in case.name:
        refused(case, tmp_path, "dilated")
    else:
        run(case, tmp_path)


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_gives_a_place_for_every_stride(size, kernel, stride):
    """What `SAME` is for: ceil(size / stride) places, the odd one where it says."""
    upper, lower = (
        paddings(
            Operation(
                kind="Conv",
                opset=18,
                attributes={"auto_pad": mode, "strides": [stride]},
            ),
            [size],
            [kernel],
        )[0]
        for mode in (b"SAME_UPPER", b"SAME_LOWER")
    )
    assert upper == lower[::-1]
    assert 0 <= upper[1] - upper[0] <= 1
    padded = torch.zeros(1, 1, size + sum(upper))
    found = torch.nn.functional.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride)
    assert found.shape[2] == int(np.ceil(size / stride))
