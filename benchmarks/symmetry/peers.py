"""Networks that are not invariant, or are told what to be invariant to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.symmetry.backbone import group_cnn
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.network import retie, settled, tied, transformed
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import Family, Scheme
from trimtab.training.data import Dataset

__all__ = [
    "STEPS",
    "Augerino",
    "Augment",
    "augmented_by",
    "equal_values",
    "free_cnn",
    "mlp",
    "trained",
]

DECAYS: Final = (0.3, 3.0, 30.0, 300.0)
"""Precisions of the weights, the best of which a validation part chooses."""

STEPS: Final = 1200
"""Of a training that is not given seconds."""

Augment = Callable[[Tensor, torch.Generator], Tensor]


def mlp(data: Dataset, seed: int) -> nn.Module:
    """Return a dense network with one hidden layer of 128."""
    torch.manual_seed(seed)
    pixels = math.prod(data.train[0].shape[1:])
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, data.classes)
    )


def free_cnn(family: Family, data: Dataset, seed: int, channels: int = 16) -> nn.Module:
    """Return the plain network of the shapes of a group CNN, nothing shared."""
    net = group_cnn(family, (1, 14, 14), data.classes, channels=channels)
    made = settled(retie(net, family.schemes[0], seed=seed), data.train[0][:500])
    return collapse(made.eval(), data.train[0][:50])


def equal_values(family: Family, scheme: Scheme, classes: int) -> int:
    """Return the base channels with which an untied network has as many free values."""

    def values(channels: int, of: Scheme) -> int:
        net = retie(
            group_cnn(family, (1, 14, 14), classes, channels=channels), of, seed=0
        )
        return sum(each.values.numel() for _, each in tied(net))

    wanted = values(16, scheme)
    return min(range(1, 17), key=lambda c: abs(values(c, family.schemes[0]) - wanted))


def augmented_by(family: Family, scheme: Scheme) -> Augment:
    """Return what moves every example by a random element of a scheme."""
    some = sorted(scheme.elements)
    axes = (channel(1), space(14, 14))

    def moved(x: Tensor, drawn: torch.Generator) -> Tensor:
        which = torch.randint(len(some), (len(x),), generator=drawn)
        found = x.clone()
        for number, element in enumerate(some):
            mask = which == number
            if bool(mask.any()):
                found[mask] = transformed(family, element, x[mask], axes)
        return found

    return moved


class Augerino(nn.Module):
    """A network averaged over rotations whose range it learns.

    After Benton et al., "Learning Invariances in Neural Networks" (arXiv 2010.11882):
    angles uniform within a learned width, one copy in training, some at test; the loss
    has the width taken off, so that it grows where it costs nothing. The width has no
    decay and a rate of its own.
    """

    COPIES: Final = 8
    BONUS: Final = 0.01
    RATE: Final = 0.03

    def __init__(self, net: nn.Module, seed: int) -> None:
        super().__init__()
        self.net = net
        self.raw = nn.Parameter(torch.tensor(0.0))
        self.drawn = torch.Generator().manual_seed(seed)

    @property
    def width(self) -> Tensor:
        """Half of the range of angles, radians."""
        return F.softplus(self.raw)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores: of one draw in training, the mean log probability else."""
        if self.training:
            found: Tensor = self.net(self._turned(x))
            return found
        logs = [F.log_softmax(self.net(self._turned(x)), 1) for _ in range(self.COPIES)]
        return torch.stack(logs).mean(0)

    def _turned(self, x: Tensor) -> Tensor:
        u = 2 * torch.rand(len(x), generator=self.drawn) - 1
        angle = self.width * u
        zero = torch.zeros_like(angle)
        rows = torch.stack(
            [
                torch.stack([angle.cos(), -angle.sin(), zero], 1),
                torch.stack([angle.sin(), angle.cos(), zero], 1),
            ],
            1,
        )
        grid = F.affine_grid(rows, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


def trained(
    make: Callable[[], nn.Module],
    data: Dataset,
    *,
    steps: int,
    seed: int,
    augment: Augment | None = None,
    seconds: float | None = None,
    decays: Sequence[float] = DECAYS,
) -> nn.Module:
    """Return a network trained with the weight decay that a validation part prefers.

    Args:
        make: draws a network.
        data: what it learns; a fifth chooses the decay, all of it is learned then.
        steps: of each training.
        seed: of the order of examples and of what moves them.
        augment: moves the examples of each step.
        seconds: of CPU time that all trainings together are given; the last, on all
            data, then takes what is left, if that is more than `steps`.
        decays: precisions of the weights.
    """
    begun = time.process_time()
    x, y = data.train
    cut = max(1, len(x) // 5)
    held = (x[:cut], y[:cut])
    rest = (x[cut:], y[cut:])
    scores = []
    for decay in decays:
        net = _fitted(make(), *rest, decay, steps, seed, augment)
        with torch.no_grad():
            scores.append(-float(F.cross_entropy(net(held[0]), held[1])))
    best = decays[scores.index(max(scores))]
    if seconds is not None:
        spent = time.process_time() - begun
        a_step = spent / (steps * len(decays))
        steps = max(steps, round((seconds - spent) / a_step))
    return _fitted(make(), x, y, best, steps, seed, augment)


def _fitted(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    decay: float,
    steps: int,
    seed: int,
    augment: Augment | None,
) -> nn.Module:
    drawn = torch.Generator().manual_seed(seed)
    x = x.to(memory_format=torch.channels_last)
    groups: list[dict[str, Any]] = [
        {"params": list(net.parameters()), "weight_decay": decay / len(x)}
    ]
    if isinstance(net, Augerino):
        groups = [
            {"params": list(net.net.parameters()), "weight_decay": decay / len(x)},
            {"params": [net.raw], "weight_decay": 0.0, "lr": net.RATE},
        ]
    optimizer = torch.optim.Adam(groups, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (50,), generator=drawn)
        some = x[rows] if augment is None else augment(x[rows], drawn)
        loss = F.cross_entropy(net(some), y[rows])
        if isinstance(net, Augerino):
            loss = loss - net.BONUS * net.width
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval()
