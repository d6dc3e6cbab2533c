from __future__ import annotations

import torch
from torch import nn

from trimtab.zoo._resnet_blocks import (
    BasicBlock,
    Bottleneck,
    PaddedShortcut,
    PreactivationBottleneck,
    conv1x1,
    conv3x3,
    padding,
    projection,
)


def test_padded_shortcut_picks_pixels_and_fills_channels() -> None:
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    out: torch.Tensor = PaddedShortcut(2, 5, stride=2)(x)
    assert out.shape == (1, 5, 2, 2)
    assert out[0, 0].tolist() == [[0, 2], [8, 10]]
    assert out[0, 1].tolist() == [[16, 18], [24, 26]]
    assert not out[:, 2:].any()


def test_a_block_whose_branch_is_zero_passes_its_input_on() -> None:
    x = torch.rand(2, 8, 5, 5)
    basic = BasicBlock(8, 8).eval()
    bottleneck = Bottleneck(8, 2).eval()
    preactivation = PreactivationBottleneck(8, 2).eval()
    nn.init.zeros_(basic.conv2.weight)
    nn.init.zeros_(bottleneck.conv3.weight)
    nn.init.zeros_(preactivation.conv3.weight)
    for block in (basic, bottleneck):
        out: torch.Tensor = block(x)
        assert torch.equal(out, x)  # ReLU changes nothing that is not negative
    signed = x - 0.5
    passed: torch.Tensor = preactivation(signed)
    assert torch.equal(passed, signed)  # no ReLU after the sum


def test_shortcuts_appear_only_where_the_shape_changes() -> None:
    assert BasicBlock(8, 8).downsample is None
    assert BasicBlock(8, 8, stride=2).downsample is not None
    assert Bottleneck(8, 8).downsample is not None  # 8 to 4 * 8 channels
    assert isinstance(BasicBlock(4, 8, shortcut=padding).downsample, PaddedShortcut)


def test_weights_of_the_shortcuts() -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(padding(4, 8, 2)) == 0
    assert count(projection(4, 8, 2)) == 4 * 8 + 2 * 8
    assert count(conv1x1(4, 8, 2)) == 4 * 8
    assert count(conv3x3(4, 8, 2)) == 4 * 8 * 9
