from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trimtab.errors import UsageError
from trimtab.zoo._layers import (
    check_arguments,
    conv_norm,
    head,
    initialise,
    round_to_eight,
    scaled,
)


@pytest.mark.parametrize("name", ["num_classes", "in_channels"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_arguments(**{name: 0})
    assert str(caught.value) == f"{name}=0: it must be at least 1. Give 1 or more."


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
def test_widths_that_are_no_factor_are_refused(width: float) -> None:
    with pytest.raises(UsageError, match="must be positive and finite") as caught:
        check_arguments(width=width)
    assert caught.value.asked == f"width={width}"


@pytest.mark.parametrize("dropout", [-0.1, 1.1, math.nan])
def test_a_dropout_is_a_probability(dropout: float) -> None:
    with pytest.raises(UsageError, match="lies between 0 and 1"):
        check_arguments(dropout=dropout)


@given(st.integers(1, 4096), st.floats(0.01, 8))
def test_scaled_is_nearest_and_positive(channels: int, width: float) -> None:
    result = scaled(channels, width)
    assert result >= 1
    assert result == 1 or abs(result - channels * width) <= 0.5


@given(st.floats(1, 5000))
def test_round_to_eight_keeps_ninety_percent(channels: float) -> None:
    result = round_to_eight(channels)
    assert result % 8 == 0
    assert result >= 0.9 * channels
    assert result <= max(8, channels + 8)


def test_conv_norm_keeps_the_size_and_has_no_bias() -> None:
    block = conv_norm(4, 8, 3, groups=4).eval()
    out: torch.Tensor = block(torch.zeros(1, 4, 5, 7))
    assert out.shape == (1, 8, 5, 7)
    # one 3x3 filter a channel, weight and bias of the normalisation
    assert sum(p.numel() for p in block.parameters()) == 8 * 9 + 2 * 8
    assert len(conv_norm(4, 8, activation=None)) == 2


def test_head_takes_the_mean_over_the_pixels() -> None:
    end = nn.Sequential(head("fc", nn.Identity()))
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    out: torch.Tensor = end(x)
    assert out.tolist() == [[(0 + 1 + 2 + 3) / 4, (4 + 5 + 6 + 7) / 4]]


def test_initialise_has_the_variance_of_he() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Linear(512, 512))
    initialise(network)
    conv, linear = network
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)
    expected = math.sqrt(2 / (128 * 3 * 3))
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not conv.bias.any()  # type: ignore[union-attr]
    assert not linear.bias.any()


def test_initialise_can_leave_linear_layers_alone() -> None:
    layer = nn.Linear(3, 3)
    before = layer.weight.clone()
    initialise(layer, linear=False)
    assert torch.equal(layer.weight, before)
