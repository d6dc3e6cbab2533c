import pytest
from tests.unit.onnx.conftest import cases, refused, run

CASES = cases("attention", "einsum", "gemm", "matmul")
REFUSED = (
    "causal", "softcap", "qk_matmul", "past", "present", "window", "padded_kv", "mode3",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if any(word in case.name for word in REFUSED):
        refused(case, tmp_path, "operator Attention")
    else:
        run(case, tmp_path)
