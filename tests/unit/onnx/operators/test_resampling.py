import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import cases, refused, run, saved

from trimtab.graph.capture import capture
from trimtab.onnx.network import load

CASES = cases("gridsample", "resize", "upsample")
REFUSED = ("antialias", "exclude_outside", "tf_crop")
CUBIC = ("downsample_scales_cubic", "scales_cubic_asymmetric", "scales_cubic_align")


def _refusal(name):
    if any(word in name for word in REFUSED):
        return "smooths|coordinates"
    not_torch = (
        any(word in name for word in CUBIC) and "upsample_scales_cubic_al" not in name
    )
    return "cubic form" if not_torch else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if said := _refusal(case.name):
        refused(case, tmp_path, said)
    else:
        run(case, tmp_path)


@pytest.mark.parametrize(
    ("mode", "op"),
    [
        ("nearest", "aten.upsample_nearest2d.vec"),
        ("linear", "aten.upsample_bilinear2d.vec"),
    ],
)
def test_usual_forms_are_one_operator(mode, op, tmp_path):
    places = "asymmetric" if mode == "nearest" else "half_pixel"
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode=mode, nearest_mode="floor",
        coordinate_transformation_mode=places,
    )  # fmt: skip
    numbers = {"scales": np.array([1, 1, 2, 2], np.float32)}
    path = saved(tmp_path, [node], {"x": [1, 2, 3, 4]}, constants=numbers)
    graph = capture(load(path).module, (torch.zeros(1, 2, 3, 4),))
    assert [each.op for each in graph.nodes] == [op]
