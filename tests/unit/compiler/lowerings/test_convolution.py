import pytest
import torch
from torch import nn

from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.tasks import Task


def test_convolution_norm_and_relu_are_one_kernel(network):
    norm = nn.BatchNorm2d(16)
    norm.running_mean = torch.randn(16)
    norm.running_var = torch.rand(16) + 0.5
    module = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), norm, nn.ReLU())
    made = network(
        module,
        torch.randn(1, 8, 9, 7),
        tasks=["Elementwise", "Contraction", "Elementwise"],
    )
    task = made.tasks[1]
    assert isinstance(task, Task)
    assert isinstance(task.work, Contraction)
    assert task.work.bias, "the shift of the normalisation is the bias"
    assert len(task.nodes) == 3


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(16, 32, 3, stride=2, groups=2),
        nn.Conv2d(12, 20, 3, padding=2, dilation=2, groups=4),
        nn.Conv2d(3, 5, (1, 3), padding="same"),
        nn.Conv2d(6, 8, 2, padding="valid"),
    ],
    ids=["depthwise", "groups", "ragged groups", "same", "valid"],
)
def test_forms(network, layer):
    network(layer, torch.randn(2, layer.in_channels, 8, 9))


def test_an_image_without_batch_is_left_to_others(network):
    made = network(nn.Conv2d(4, 8, 3), torch.randn(4, 6, 6))
    assert len(made.tasks) == 1
