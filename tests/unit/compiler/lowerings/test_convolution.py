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


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return torch.relu(self.layers(x) + x)


def test_an_image_without_batch_is_a_batch_of_one(network):
    network(
        nn.Conv2d(4, 8, 3, padding=1),
        torch.randn(4, 6, 6),
        tasks=["Elementwise", "Contraction", "Elementwise"],
    )


@pytest.mark.parametrize("batch", [(), (3,)], ids=["unbatched", "batched"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(8, 16, 3, padding=1),
        nn.Conv1d(16, 16, 5, padding=2, groups=16),
        nn.Conv1d(12, 20, 3, stride=2, padding=2, dilation=2, groups=4),
        nn.Conv1d(3, 8, 4, padding="same"),
        nn.Conv1d(1, 1, 3, padding="valid", bias=False),
    ],
    ids=["plain", "depthwise", "ragged groups", "same", "one channel"],
)
def test_a_line_is_an_image_of_height_one(network, layer, batch):
    made = network(layer, torch.randn(*batch, layer.in_channels, 19))
    assert all(isinstance(each, Task) for each in made.tasks)


def test_lines_stay_images_between_convolutions(network):
    norm = nn.BatchNorm1d(16)
    norm.running_mean = torch.randn(16)
    norm.running_var = torch.rand(16) + 0.5
    network(
        _Residual(
            nn.Conv1d(16, 16, 3, padding=1, bias=False),
            norm,
            nn.ReLU(),
            nn.Conv1d(16, 16, 3, padding=2, dilation=2),
        ),
        torch.randn(2, 16, 33),
        tasks=["Elementwise", "Contraction", "Contraction", "Elementwise"],
    )


def test_images_without_batch_stay_packed_between_convolutions(network):
    network(
        _Residual(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1)),
        torch.randn(16, 9, 7),
        tasks=["Elementwise", "Contraction", "Contraction", "Elementwise"],
    )


def test_a_line_is_read_by_others_too(network):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv1d(8, 16, 3, padding=1)
            self.second = nn.Conv1d(16, 16, 3, padding=1)
            self.dense = nn.Linear(16, 4)

        def forward(self, x):
            y = torch.tanh(self.first(x))
            return y, self.second(y) * y, self.dense(y.transpose(1, 2)), y.mean(-1)

    made = network(Net(), torch.randn(2, 8, 12))
    assert all(isinstance(each, Task) for each in made.tasks)


def test_transposed_convolutions_of_lines_are_left_to_others(network):
    made = network(nn.ConvTranspose1d(4, 8, 3), torch.randn(2, 4, 6))
    assert len(made.tasks) == 1
