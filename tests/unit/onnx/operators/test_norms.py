import pytest
from tests.unit.onnx.conftest import cases, refused, run

CASES = cases(
    "batchnorm", "group_normalization", "instancenorm", "l1normalization",
    "l2normalization", "logsoftmax", "lrn", "mvn", "rms_normalization", "softmax",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if "training" in case.name:
        refused(case, tmp_path, "training mode")
    else:
        run(case, tmp_path)


def test_layers_that_show_their_mean_are_refused(tmp_path):
    for case in cases("layer_normalization_2d"):
        refused(case, tmp_path, "mean and deviation")
