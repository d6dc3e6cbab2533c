"""Batch norms at other weights."""

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.relax.norms import reestimate


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.2), nn.Dropout(0.9), nn.ReLU(),
        nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False),
    )  # fmt: skip


def batches(count=4):
    drawn = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, generator=drawn) for _ in range(count)]


def test_statistics_are_the_means_over_batches_and_nothing_else_changes():
    net = network().train()
    net[3].eval()
    norm = net[1]
    some = batches()
    assert reestimate(net, [(x, torch.zeros(8)) for x in some]) == 4
    seen = [net[0](x) for x in some]
    means = torch.stack([each.mean(0) for each in seen]).mean(0)
    variances = torch.stack([each.var(0) for each in seen]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)
    assert torch.allclose(norm.running_var, variances, atol=1e-6)
    assert norm.momentum == 0.2
    assert net.training
    assert not net[3].training
    assert reestimate(net, iter(some), most=2) == 2
    means = torch.stack([each.mean(0) for each in seen[:2]]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-6)


def test_a_batch_that_fails_changes_nothing():
    net = network().eval()
    reestimate(net, batches())
    before = {key: each.clone() for key, each in net.state_dict().items()}
    with pytest.raises(RuntimeError):
        reestimate(net, [batches()[0], torch.zeros(8, 7)])
    with pytest.raises(UsageError, match="there is no batch"):
        reestimate(net, [])
    assert all(torch.equal(before[key], each) for key, each in net.state_dict().items())
    assert not net.training
    assert net[1].momentum == 0.2


def test_without_norms_nothing_is_asked():
    assert reestimate(nn.Linear(3, 2), []) == 0
