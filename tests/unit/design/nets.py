"""Small networks of the tests of `trimtab.design`."""

import torch
from torch import nn


class Block(nn.Module):
    """A residual block of two windows."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.b = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )

    def forward(self, x):
        y = self.bn2(self.b(torch.relu(self.bn1(self.a(x)))))
        return torch.relu(y + self.down(x))


class Residual(nn.Module):
    """A stem and stages of blocks, the first of each halving rows and columns."""

    def __init__(self, counts=(2, 2), width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.ReLU())
        stages, inputs = [], width
        for number, count in enumerate(counts):
            outputs = width * 2**number
            stages.append(
                nn.Sequential(
                    *[
                        Block(
                            inputs if each == 0 else outputs,
                            outputs,
                            2 if each == 0 and number else 1,
                        )
                        for each in range(count)
                    ]
                )
            )
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, 10)

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


def residual(*counts, width=8):
    return Residual(counts or (2, 2), width).eval()


def plain(batch_norm=True):
    """Windows in a row, as VGG has them."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 8), (8, 8)):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
        layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Conv2d(8, 16, 3)).eval()


IMAGE = torch.zeros(1, 3, 16, 16)
