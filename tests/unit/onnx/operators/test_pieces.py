import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import cases, refused, run, saved

from trimtab.graph.capture import capture
from trimtab.onnx.network import load

CASES = cases(
    "gather", "gather_elements", "gathernd", "onehot", "scatter_elements", "scatternd",
    "slice", "split",
)  # fmt: skip
BY = ("scatternd_multiply", "scatternd_max", "scatternd_min")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if case.name.removeprefix("test_").startswith(BY):
        refused(case, tmp_path, "it combines by")
    else:
        run(case, tmp_path)


def test_rows_of_a_table_are_an_embedding(tmp_path):
    node = helper.make_node("Gather", ["table.weight", "x"], ["y"])
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    path = saved(
        tmp_path, [node], {"x": ["n", 3]}, constants={"table.weight": table}, kind=7
    )
    module = load(path).module
    ids = torch.tensor([[0, 5, 2]])
    graph = capture(module, (ids,))
    assert [each.op for each in graph.nodes] == ["aten.embedding.default"]
    assert torch.equal(module(ids)[0], torch.from_numpy(table)[ids[0]])
