"""Unchanged networks of torchvision, bit by bit: stored, read, run and cut."""

import pytest
import torch

from trimtab.graph import store
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref

pytestmark = pytest.mark.integration

NETWORKS = {
    "resnet18": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "inception_v3": 96,
    "googlenet": 64,
    "squeezenet1_1": 64,
    "shufflenet_v2_x1_0": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "vit_b_16": 224,
    "swin_t": 64,
}
"""Side of the input: small, except where the network has it built in."""


@pytest.mark.parametrize("name", NETWORKS)
def test_captured_stored_run_and_cut(torchvision, name):
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    module = torchvision.models.get_model(name, **options).eval()
    x = torch.randn(1, 3, NETWORKS[name], NETWORKS[name])
    graph = capture(module, (x,), name=name)
    assert graph.parameters == sum(each.numel() for each in module.parameters())
    again = store.loads(store.dumps(graph))
    assert again == graph
    executor = Executor(again, weights_of(module, again))
    with torch.no_grad():
        expected = module(x)
    assert torch.equal(executor(x), expected)
    middle = len(graph.nodes) // 2
    half = executor.run({Ref(graph.inputs[0].name): x}, 0, middle)
    (output,) = graph.outputs
    assert isinstance(output, Ref)
    assert torch.equal(executor.run(half, middle)[output], expected)
