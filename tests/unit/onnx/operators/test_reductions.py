import pytest
from tests.unit.onnx.conftest import cases, run

CASES = cases("argmax", "argmin", "cumsum", "hardmax", "reduce", "top_k")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    run(case, tmp_path)
