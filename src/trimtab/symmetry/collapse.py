"""A tied network as an ordinary one: convolutions and dense layers, nothing else.

The result has the weights written out, so that it exports and compiles like any other
network, at the cost of the untied one; averaging over an orbit would cost as many calls
as the subgroup has elements.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.symmetry.layers import (
    GroupConv2d,
    InvariantHead,
    LiftConv2d,
    TiedConv2d,
    TiedLinear,
    TiedNorm,
)
from trimtab.symmetry.network import EXACT, Symmetric, tied, verify

__all__ = ["collapse"]


@torch.no_grad()
def collapse(network: Symmetric, x: Tensor | None = None) -> nn.Module:
    """Return a network of plain layers that computes the same.

    Norms go into the convolution or dense layer before them, where `symmetrize` has
    seen that they alone read it, it is next to them in a `torch.nn.Sequential`, or a
    `torch.nn.MaxPool2d` is between; others become a layer of their own.

    Args:
        network: tied by a scheme; it is not changed.
        x: examples (n, ...) to compare both on; by default noise.

    Raises:
        UsageError: it is not invariant to its own scheme, or the plain one differs by
            more than 1e-5 of the largest score.

    Example:
        >>> from trimtab.symmetry.backbone import group_cnn
        >>> from trimtab.symmetry.network import retie
        >>> from trimtab.symmetry.schemes import subgroups
        >>> family = subgroups("D4")
        >>> net = retie(group_cnn(family, (1, 14, 14), 10), family["C4"], seed=0)
        >>> kinds = {type(each).__name__ for each in collapse(net).modules()}
        >>> sorted(each for each in kinds if each.startswith(("Tied", "Group")))
        []
    """
    if x is None:
        x = torch.randn(4, *network.shape, generator=torch.Generator().manual_seed(0))
    verify(network, x)
    body = _plain(copy.deepcopy(network.body).eval())
    _fold_known(body)
    body(x)  # norms learn how many axes they have
    body = _folded(body)
    for each in body.parameters():
        each.requires_grad_(True)
    body.eval()
    mode = network.training
    network.eval()
    before, after = network(x), body(x)
    network.train(mode)
    error = float((before - after).abs().max()) / (float(before.abs().max()) or 1.0)
    left = [path for path, _ in tied(body)]
    if left or not error <= EXACT:
        raise UsageError(
            f"collapse of a network that shares by {network.scheme.name}",
            rule=f"{left[0]} is of no known layer"
            if left
            else f"the plain network differs by {error:.1e} of the largest score",
            where="trimtab.symmetry.collapse",
            remedy="build the network from the layers of trimtab.symmetry.layers",
        )
    verify(network, x, module=body)
    return body


def _plain(module: nn.Module) -> nn.Module:
    """Return a plain module for a tied one; others have theirs replaced."""
    if isinstance(module, LiftConv2d | GroupConv2d | TiedConv2d):
        weight = module.weight()
        kernel = module.kernel
        conv = nn.Conv2d(
            module.inputs * module.groups,
            module.outputs,
            kernel,
            stride=module.stride,
            padding=kernel // 2,
            groups=module.groups,
            bias=module.bias is not None,
        )
        conv.weight.copy_(weight.reshape(conv.weight.shape))
        if module.bias is not None and conv.bias is not None:
            conv.bias.copy_(module.bias().reshape(-1))
        return conv
    if isinstance(module, TiedLinear):
        layer = _linear(module)
        return nn.Sequential(nn.Flatten(), layer) if module.flattens else layer
    if isinstance(module, InvariantHead):
        pool = (
            nn.AdaptiveMaxPool2d(1) if module.pool == "max" else nn.AdaptiveAvgPool2d(1)
        )
        return nn.Sequential(pool, nn.Flatten(), _linear(module))
    if isinstance(module, TiedNorm):
        scale, shift = module.affine()
        return _Affine(scale.reshape(-1), shift.reshape(-1), module.behind)
    for name, child in module.named_children():
        setattr(module, name, _plain(child))
    return module


def _linear(module: TiedLinear | InvariantHead) -> nn.Linear:
    layer = nn.Linear(module.inputs, module.outputs, bias=module.bias is not None)
    layer.weight.copy_(module.weight().reshape(layer.weight.shape))
    if module.bias is not None:
        layer.bias.copy_(module.bias().reshape(-1))
    return layer


class _Affine(nn.Module):
    """A scale and a shift of each channel, until they go into another layer."""

    def __init__(self, scale: Tensor, shift: Tensor, behind: str | None) -> None:
        super().__init__()
        self.scale, self.shift, self.behind = scale, shift, behind
        self.axes = 0  # of what comes in

    def forward(self, x: Tensor) -> Tensor:
        self.axes = x.ndim
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


def _fold_known(body: nn.Module) -> None:
    """Put scales and shifts into the layers that the network's graph told of."""
    for path, each in list(body.named_modules()):
        if not isinstance(each, _Affine) or each.behind is None:
            continue
        layer = body.get_submodule(each.behind)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            _put_into(layer, each)
            parent, _, name = path.rpartition(".")
            setattr(body.get_submodule(parent), name, nn.Identity())


def _put_into(layer: nn.Conv2d | nn.Linear, affine: _Affine) -> None:
    layer.weight.mul_(affine.scale.view(-1, *(1,) * (layer.weight.ndim - 1)))
    shift = affine.shift
    if layer.bias is not None:
        shift = shift + layer.bias * affine.scale
    layer.bias = nn.Parameter(shift.clone())


def _folded(module: nn.Module) -> nn.Module:
    """Put scales and shifts into the layer before, or into one of their own."""
    children = list(module.named_children())
    for number, (name, child) in enumerate(children):
        if not isinstance(child, _Affine):
            setattr(module, name, _folded(child))
            continue
        before = None
        if isinstance(module, nn.Sequential):
            before = _weights_before([each for _, each in children[:number]])
        if before is None:
            setattr(module, name, _scaling(child))
            continue
        _put_into(before, child)
        setattr(module, name, nn.Identity())
    return module


def _weights_before(modules: list[nn.Module]) -> nn.Conv2d | nn.Linear | None:
    """Return the layer whose results a positive scale may be put into."""
    for each in reversed(modules):
        if isinstance(each, nn.Conv2d | nn.Linear):
            return each
        # The largest of scaled values is the scaled largest.
        if not isinstance(each, nn.MaxPool2d | nn.Dropout):
            break
    return None


def _scaling(affine: _Affine) -> nn.Module:
    channels = len(affine.scale)
    layer: nn.Conv2d | nn.Linear
    if affine.axes == 2:
        layer = nn.Linear(channels, channels)
        layer.weight.copy_(affine.scale.diag())
    else:
        layer = nn.Conv2d(channels, channels, 1, groups=channels)
        layer.weight.copy_(affine.scale.view(-1, 1, 1, 1))
    assert layer.bias is not None
    layer.bias.copy_(affine.shift)
    return layer
