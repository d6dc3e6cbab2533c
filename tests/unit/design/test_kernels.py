"""Modules that take the place of a convolution."""

import pytest
import torch
from torch import nn

from trimtab.design.kernels import Replace, has_hooks, is_plain, module_for
from trimtab.errors import UsageError

CONV = nn.Conv2d(8, 16, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    "more",
    [
        {"kernel": "grouped", "groups": 4},
        {"kernel": "depthwise-pointwise"},
        {"kernel": "depthwise-grouped", "groups": 2},
        {"kernel": "depthwise-sliding", "groups": 4, "overlap": 0.5},
        {"kernel": "asymmetric"},
        {"kernel": "resized", "size": 5},
        {"kernel": "resized", "size": 1},
    ],
    ids=str,
)
def test_shapes_stay(more):
    x = torch.rand(2, 8, 9, 9)
    made = module_for(CONV, Replace(module="a", **more))
    assert made(x).shape == CONV(x).shape
    assert made.training is CONV.training


def test_numbers_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="cannot become that"):
        module_for(CONV, Replace(module="a", kernel="grouped", groups=3))
    with pytest.raises(UsageError, match="only a pointwise"):
        module_for(CONV, Replace(module="a", kernel="sliding", groups=2))


def test_hooks_are_found_wherever_they_are():
    conv = nn.Conv2d(1, 1, 1)
    net = nn.Sequential(nn.Sequential(conv))
    assert not has_hooks(net)
    conv.register_full_backward_hook(lambda *given: None)
    assert has_hooks(net)
    assert not is_plain(conv)
    assert is_plain(nn.Conv2d(1, 1, 1))
