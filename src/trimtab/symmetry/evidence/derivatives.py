"""Derivatives of the scores of each example in the values of tied tensors.

Automatic differentiation gives gradients of a sum over examples. Of one example alone
they follow from what a layer was given and the gradient of what it returned: a
convolution's is a product of windows and gradients, a dense layer's an outer product.
Entries that share a value then add up.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.symmetry.layers import (
    GroupConv2d,
    InvariantHead,
    LiftConv2d,
    TiedConv2d,
    TiedLinear,
    TiedNorm,
    TiedTensor,
)
from trimtab.symmetry.network import Symmetric, tied

__all__ = ["rows_of"]

_Conv = LiftConv2d | GroupConv2d | TiedConv2d
_Layer = _Conv | TiedLinear | InvariantHead | TiedNorm
_CHUNK: Final = 20  # examples at once


def rows_of(
    network: Symmetric, x: Tensor, paths: Collection[str] | None = None
) -> Tensor:
    """Return the rows of A, (n (classes - 1), values), for examples x.

    Row by row, A is a root of the Hessian of each example's loss in its scores, times
    the derivatives of these scores in the values: A'A is the generalised Gauss-Newton
    matrix. Scores have one direction that changes no probability, so that each example
    gives one row less than there are classes.

    Args:
        network: of layers of `trimtab.symmetry.layers`, in evaluation mode.
        x: examples (n, ...).
        paths: of the tensors whose values are meant, None for all; they are in the
            order of `trimtab.symmetry.network.tied`.

    Raises:
        UsageError: a tied tensor belongs to a layer of another kind, or a norm takes
            its statistics from batches.
    """
    layers, places = _layers(network, paths)
    starts, end = {}, 0
    for path in places:
        starts[path], end = end, end + places[path].tensor.values.numel()
    found: Tensor | None = None
    first = 0
    for some in torch.split(x, _CHUNK):
        calls, gradients = _differentiated(network, layers, some)
        count = gradients[0].shape[0] * gradients[0].shape[1]
        if found is None:
            found = torch.zeros(len(x) * gradients[0].shape[1], end, dtype=some.dtype)
        rows = found[first : first + count]
        for (owner, given), gradient in zip(calls, gradients, strict=True):
            entries = _entries(layers[owner], given, gradient)
            for path, place in places.items():
                if place.owner == owner:
                    start, tensor = starts[path], place.tensor
                    part = rows[:, start : start + tensor.values.numel()]
                    part += _shared(tensor, entries[place.name].reshape(count, -1))
        first += count
    assert found is not None
    return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a tied tensor is: the layer that uses it, and as what."""

    owner: str
    name: str
    tensor: TiedTensor


def _layers(
    network: Symmetric, paths: Collection[str] | None
) -> tuple[dict[str, _Layer], dict[str, _Place]]:
    """Return layers by path, and places by path of the tensor."""
    layers: dict[str, _Layer] = {}
    places: dict[str, _Place] = {}
    modules = dict(network.named_modules())
    for path, tensor in tied(network):
        if paths is not None and path not in paths:
            continue
        owner, _, name = path.rpartition(".")
        if not isinstance(modules[owner], _Layer):  # one of several that are added up
            owner, _, name = owner.rpartition(".")
        layer = modules[owner]
        if not isinstance(layer, _Layer):
            raise UsageError(
                f"evidence of a network with a tied tensor of a "
                f"{type(modules[path.rpartition('.')[0]]).__name__}",
                rule=f"derivatives in `{path}` are known for the layers of "
                "trimtab.symmetry alone",
                where="trimtab.symmetry.evidence",
                remedy="build the network from these layers, or give "
                'evidence="heldout"',
            )
        if isinstance(layer, TiedNorm) and layer.batch is not None:
            raise UsageError(
                "evidence of a network with batch norms",
                rule=f"`{owner}` leaves no maximum to a prior on the weights before it",
                where="trimtab.symmetry.evidence",
                remedy="compare schemes first, then call `batched`",
            )
        layers[owner] = layer
        places[path] = _Place(owner=owner, name=name, tensor=tensor)
    return layers, places


def _differentiated(
    network: Symmetric, layers: dict[str, _Layer], x: Tensor
) -> tuple[list[tuple[str, Tensor]], list[Tensor]]:
    """Return what layers were given, and gradients (n, rows, ...) of their results."""
    calls: list[tuple[str, Tensor]] = []
    results: list[Tensor] = []

    def hook(path: str) -> object:
        def seen(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
            calls.append((path, given[0].detach()))
            results.append(result)

        return seen

    handles = [
        layer.register_forward_hook(hook(path))  # type: ignore[arg-type]
        for path, layer in layers.items()
    ]
    if x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    try:
        with torch.enable_grad():
            scores = network(x)
    finally:
        for each in handles:
            each.remove()
    roots = _roots(F.softmax(scores.detach().double(), 1)).to(x.dtype)
    by_row = [
        torch.autograd.grad((scores * roots[:, row]).sum(), results, retain_graph=True)
        for row in range(roots.shape[1])
    ]
    return calls, [torch.stack(each, 1) for each in zip(*by_row, strict=True)]


def _roots(p: Tensor) -> Tensor:
    """Return R with R'R = diag(p) - pp' of each example, a row less than classes."""
    root = p.sqrt()
    whole = root[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype) - p[:, None, :])
    # A reflection that moves root(p), which whole sends to zero, to the first axis.
    mirror = root.clone()
    mirror[:, 0] += 1.0
    mirror = mirror / mirror.norm(dim=1, keepdim=True)
    whole = whole - 2.0 * mirror[:, :, None] * (mirror[:, None, :] @ whole)
    kept: Tensor = whole[:, 1:]
    return kept


@torch.no_grad()
def _entries(layer: _Layer, given: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Return derivatives (n, rows, ...) in the entries of a layer's tensors.

    Args:
        layer: that was called.
        given: what it was given, (n, ...).
        gradient: of what it returned, (n, rows, ...).
    """
    count, rows = gradient.shape[:2]
    places = gradient.reshape(count, rows, gradient.shape[2], -1)
    found = {"bias": places.sum(3)}
    if isinstance(layer, TiedNorm):
        scale, _ = layer.affine()
        seen = given.reshape(count, *scale.shape, -1) - layer.mean[None, :, :, None]
        seen = (seen * scale[None, :, :, None]).reshape(count, 1, -1, places.shape[3])
        found["weight"] = (places * seen).sum(3)
    elif isinstance(layer, TiedLinear | InvariantHead):
        flat = layer.pooled(given) if isinstance(layer, InvariantHead) else given
        found["weight"] = gradient[..., None] * flat.reshape(count, 1, 1, -1)
    else:
        kernel = layer.kernel
        windows = F.unfold(given, kernel, padding=kernel // 2, stride=layer.stride)
        if layer.groups == 1:
            found["weight"] = places.reshape(
                count, -1, places.shape[3]
            ) @ windows.transpose(1, 2)
        else:
            windows = windows.view(count, layer.groups, kernel**2, -1)
            found["weight"] = torch.einsum("nrcp,nckp->nrck", places, windows)
    return found


def _shared(tensor: TiedTensor, entries: Tensor) -> Tensor:
    """Return derivatives (rows, values) of what shares a value, added up."""
    if tensor.values.numel() == entries.shape[1]:
        return entries
    # Whole rows of the transpose are added: much faster than entries one by one.
    found = torch.zeros(tensor.values.numel(), len(entries), dtype=entries.dtype)
    return found.index_add_(0, tensor.orbit, entries.T.contiguous()).T
