"""A network whose layers share by one scheme at a time, and how exact that is."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

import torch
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.symmetry.layers import TiedNorm, TiedTensor
from trimtab.symmetry.orbits import Axis, moved
from trimtab.symmetry.schemes import Family, Scheme

__all__ = [
    "EXACT",
    "Symmetric",
    "batched",
    "invariance_error",
    "last_called",
    "retie",
    "settled",
    "tied",
    "transformed",
    "verify",
]

EXACT: Final = 1e-5
"""Largest error of invariance that a network may have, relative to its scores."""

_MOST_VERIFIED: Final = 32  # elements of a subgroup


@final
class Symmetric(nn.Module):
    """A network of tied layers, with what it takes to move its inputs.

    Args:
        body: from inputs to scores (n, classes); its tied layers are of one family.
        family: of schemes.
        inputs: axes of one example.

    Attributes:
        scheme: by which the layers share; at first the one that shares nothing.

    Raises:
        UsageError: no layer of `body` is tied, one is of another family, or one has
            parameters that are not tied.

    Example:
        >>> from trimtab.symmetry.layers import InvariantHead, LiftConv2d
        >>> from trimtab.symmetry.orbits import channel, space
        >>> from trimtab.symmetry.schemes import subgroups
        >>> family = subgroups("D4")
        >>> body = nn.Sequential(
        ...     LiftConv2d(family, 1, 4, 3), nn.ReLU(), InvariantHead(family, 4, 10)
        ... )
        >>> net = Symmetric(body, family, (channel(1), space(8, 8)))
        >>> net = retie(net, family["C4"], seed=0)
        >>> verify(net) < 1e-5
        True
    """

    def __init__(self, body: nn.Module, family: Family, inputs: Sequence[Axis]) -> None:
        super().__init__()
        self.body, self.family, self.inputs = body, family, tuple(inputs)
        self.scheme = family.schemes[0]
        layers = [each for _, each in tied(self)]
        shared = {id(each.values) for each in layers}
        free = [
            path for path, each in self.named_parameters() if id(each) not in shared
        ]
        if not layers or free or any(each.family is not family for each in layers):
            raise UsageError(
                f"a symmetric network of a {type(body).__name__}",
                rule="it has no layer of trimtab.symmetry"
                if not layers
                else f"`{free[0].removeprefix('body.')}` is a parameter that no scheme "
                "ties, and has no prior"
                if free
                else "some of its layers are of another family",
                where="trimtab.symmetry.Symmetric",
                remedy="build all layers with the family that is given here, and make "
                "what is not learned a buffer",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of one example."""
        return tuple(size for axis in self.inputs for size in axis.sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Map examples (n, ...) to scores (n, classes)."""
        scores: Tensor = self.body(x)
        return scores


def tied(module: nn.Module) -> Iterator[tuple[str, TiedTensor]]:
    """Yield path and tensor of everything that is tied."""
    for path, each in module.named_modules():
        if isinstance(each, TiedTensor):
            yield path, each


def retie(network: Symmetric, scheme: Scheme, *, seed: int) -> Symmetric:
    """Return a copy that shares by a scheme, with fresh values.

    Args:
        network: stays as it is.
        scheme: of its family, or another of its group.
        seed: of the values.

    Raises:
        UsageError: the scheme is of another group.
    """
    group = network.family.group
    known = all(each < len(group) for each in scheme.generators)
    if not known or group.closure(scheme.generators) != scheme.elements:
        raise UsageError(
            f"scheme {scheme.name!r} for a network of family {group.name}",
            rule="its elements are those of another group",
            where="trimtab.symmetry.retie",
            remedy="take a scheme of the network's own family",
        )
    made = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for _, each in tied(made):
        each.family = network.family
        each.retie(scheme, generator)
    made.family, made.scheme = network.family, scheme
    return made


@torch.no_grad()
def batched(network: Symmetric) -> Symmetric:
    """Let the norms of a network take their statistics from every batch; return it.

    Over examples, slots and places of a base channel, which all elements of the group
    leave as they are; in evaluation running ones count. Evidence is for networks
    without: a batch norm leaves no maximum to a prior on the weights before it.

    Args:
        network: is changed; its norms begin with the statistics that they have.

    Example:
        >>> from trimtab.symmetry.backbone import group_cnn
        >>> from trimtab.symmetry.schemes import subgroups
        >>> net = batched(group_cnn(subgroups("D4"), (1, 14, 14), 10))
        >>> sum(isinstance(each, nn.BatchNorm1d) for each in net.modules())
        1
    """
    for each in network.modules():
        if isinstance(each, TiedNorm):
            made = nn.BatchNorm1d(len(each.mean), affine=False)
            assert made.running_mean is not None
            assert made.running_var is not None
            made.running_mean.copy_(each.mean[:, 0])
            made.running_var.copy_(each.deviation[:, 0] ** 2)
            each.batch = made.train(each.training)
    return network


@torch.no_grad()
def settled(network: Symmetric, x: Tensor) -> Symmetric:
    """Let the norms of a network take their statistics from examples; return it.

    Those behind see what those before have made of the same examples. The values of
    the last weight are then scaled so that scores have a standard deviation of one over
    the examples: features that a scheme makes equal add up, and without it every scheme
    would start from scores of another size.

    Args:
        network: is changed.
        x: examples (n, ...).
    """
    norms = [each for each in network.modules() if isinstance(each, TiedNorm)]
    try:
        for each in norms:
            each.settling = True
        network(x)
    finally:
        for each in norms:
            each.settling = False
    size = float(network(x).std(0).mean()) if len(x) > 1 else 0.0
    if math.isfinite(size) and size > 0:
        tensors = dict(tied(network))
        for path in last_called(network, x[:1]):
            if tensors[path].std:
                tensors[path].values.div_(size)
    return network


@torch.no_grad()
def last_called(network: Symmetric, x: Tensor) -> tuple[str, ...]:
    """Return the paths of the tensors of the layer that gives the scores.

    These are the last drawn one that a call uses, what it is added to, and what is used
    behind it, such as a bias.

    Args:
        network: to be called.
        x: an example (1, ...).
    """
    order: list[str] = []
    handles = [
        each.register_forward_hook(lambda *_, path=path: order.append(path))
        for path, each in tied(network)
    ]
    try:
        network(x)
    finally:
        for each in handles:
            each.remove()
    tensors = dict(tied(network))
    last = max(place for place, path in enumerate(order) if tensors[path].std)
    owner = order[last].removesuffix(".free")  # with its tied part, if it has one
    found = [path for path in order[:last] if path == f"{owner}.shared"]
    return tuple(dict.fromkeys([*found, *order[last:]]))


def transformed(
    family: Family, element: int, x: Tensor, axes: Sequence[Axis]
) -> Tensor:
    """Return examples (n, ...) after an element has moved them.

    Example:
        >>> from trimtab.symmetry.orbits import channel, space
        >>> from trimtab.symmetry.schemes import subgroups
        >>> family = subgroups("D4")
        >>> x = torch.arange(9.0).view(1, 1, 3, 3)
        >>> axes = (channel(1), space(3, 3))
        >>> turned = transformed(family, family.group.index("rot90"), x, axes)
        >>> torch.equal(turned, torch.rot90(x, 1, (2, 3)))
        True
    """
    targets = torch.from_numpy(moved(family.group, element, axes))
    flat = x.reshape(len(x), -1)
    found = torch.empty_like(flat)
    found[:, targets] = flat
    return found.view(x.shape)


@torch.no_grad()
def invariance_error(
    module: nn.Module,
    family: Family,
    axes: Sequence[Axis],
    x: Tensor,
    elements: Iterable[int],
) -> dict[int, float]:
    """Return the largest change of a score for each element, relative to the largest.

    Args:
        module: from examples to scores; its mode is the same afterwards.
        family: whose elements move the examples.
        axes: of one example.
        x: examples (n, ...).
        elements: of the group.
    """
    mode = module.training
    module.eval()
    try:
        before = module(x)
        size = float(before.abs().max()) or 1.0
        return {
            each: float(
                (module(transformed(family, each, x, axes)) - before).abs().max()
            )
            / size
            for each in elements
        }
    finally:
        module.train(mode)


def verify(
    network: Symmetric, x: Tensor | None = None, *, module: nn.Module | None = None
) -> float:
    """Return the largest error of invariance within the scheme of a network.

    Args:
        network: to verify.
        x: examples; by default noise.
        module: verified in its place, such as what was made of it.

    Raises:
        UsageError: it is larger than `EXACT`, or not finite.
    """
    if x is None:
        x = torch.randn(4, *network.shape, generator=torch.Generator().manual_seed(0))
    some = sorted(network.scheme.elements)
    if len(some) > _MOST_VERIFIED:  # generators make the others
        step = len(some) // _MOST_VERIFIED
        some = sorted({*network.scheme.generators, *some[::step]})
    family = network.family
    errors = invariance_error(module or network, family, network.inputs, x, some)
    element, worst = max(errors.items(), key=lambda each: each[1])
    if not worst <= EXACT:
        raise UsageError(
            f"a network that shares by {network.scheme.name}",
            rule=f"{family.group.elements[element]} of its input changes its "
            f"scores by {worst:.1e} of the largest, more than {EXACT:g}",
            where="trimtab.symmetry.verify",
            remedy="take out strides on even sizes, even kernels, one-sided padding "
            "and layers that know positions or slots",
        )
    return worst
