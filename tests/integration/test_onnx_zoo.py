"""Every network of the zoo, out as ONNX and in again: three ways, one result.

The file is run by onnxruntime and, read again, by PyTorch, both beside the network.
"""

from __future__ import annotations

import pytest
import torch
from tests.unit.zoo.test_recommend import drawn, few_rows

from trimtab.graph.capture import capture
from trimtab.onnx.network import load
from trimtab.onnx.write import write
from trimtab.zoo.recommend import build
from trimtab.zoo.registry import network, networks

pytest.importorskip("onnxscript", reason="torch.onnx.export takes it")
pytest.importorskip("onnxruntime", reason="what is written has to run somewhere")

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RECOMMENDERS = [each.name for each in networks() if each.presets]
VISION = [each.name for each in networks() if not each.presets]
# As narrow as they can be made: all but the number of channels is the network.
NARROW = {"width": 0.25}


def _vision(name):
    entry = network(name)
    allowed = entry.keywords()
    arguments = {key: value for key, value in NARROW.items() if key in allowed}
    made = entry.build(**arguments).eval()
    return made, entry.example_inputs(batch=1)


@pytest.mark.parametrize("name", VISION)
def test_a_network_of_images(name, tmp_path):
    module, inputs = _vision(name)
    _there_and_back(module, inputs, tmp_path)


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_a_recommender(name, tmp_path):
    numbers = few_rows(name)
    _there_and_back(build(numbers).eval(), drawn(numbers, 2), tmp_path)


def _there_and_back(module, inputs, folder):
    torch.manual_seed(0)
    written = write(module, inputs, path=folder / "net.onnx")
    assert written.any_batch
    assert written.comparison is not None
    assert written.comparison.relative_difference < 1e-4
    again = load(folder / "net.onnx").module
    with torch.no_grad():
        expected, found = module(*inputs), again(*inputs)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)
    graph = capture(again, inputs)
    assert not [node.op for node in graph.nodes if node.op.startswith("opaque")]
