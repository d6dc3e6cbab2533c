"""One run over a whole family: a gate for each generator.

For generators whose Reynolds projectors R_j commute, weights split into joint
eigenspaces V_a, a in {0, 1}^J, where R_j is a_j. A gate z_j = 1 keeps what R_j keeps::

    W(z) = sum_a m_a(z) u_a,   m_a(z) = prod over a_j = 0 of (1 - z_j),
    ELBO = E log p(D | W(z)) - sum_a m_a(phi) KL(q(u_a) | N(0, s_a^2))
           - sum_j KL(Bern(phi_j) | Bern(1/2)),

with q(u_a) Gaussian of one variance in each tensor and eigenspace, s_a by empirical
Bayes, and z by the binary Concrete distribution (Maddison et al., arXiv 1611.00712),
hard in the forward pass.

Gates share one set of weights and may settle early, and the bound favours large
subgroups where examples are few: what they say is where enumeration begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.errors import UsageError
from trimtab.symmetry.network import Symmetric, retie, tied
from trimtab.symmetry.orbits import Axis, orbits
from trimtab.symmetry.train import Recipe, prepared

__all__ = ["Relaxed", "commuting", "relax"]

_MOST: Final = 8  # generators: there are 2^J eigenspaces
_WARM: Final = 1.0  # temperature of the Concrete distribution at the start
_COLD: Final = 0.2  # and at the end
_OPEN: Final = 0.3  # of the steps, before gates may close
_LOG_SIGMA: Final = -4.0
_FLOOR: Final = 1e-8  # of a variance


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """What one run says of the generators.

    Attributes:
        gates: probability that each holds, by its name.
    """

    gates: Mapping[str, float]


@final
class _Split:
    """The joint eigenspaces of projectors on one tensor."""

    def __init__(self, averages: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.averages = averages
        self.places = list(itertools.product((0, 1), repeat=len(averages)))

    def mean(self, number: int, w: Tensor) -> Tensor:
        """Return R_j w, the mean over each orbit of a generator."""
        orbit, size = self.averages[number]
        sums = torch.zeros(len(size), dtype=w.dtype).index_add(0, orbit, w)
        return (sums / size.to(w.dtype))[orbit]

    def parts(self, w: Tensor) -> list[Tensor]:
        """Return what of w lies in each eigenspace, in the order of `places`."""
        found = [w]
        for number in range(len(self.averages)):
            made = []
            for each in found:
                kept = self.mean(number, each)
                made += [each - kept, kept]
            found = made
        return found

    def dimensions(self) -> list[float]:
        """Return how many dimensions each eigenspace has: traces of the projectors."""
        count = len(self.averages[0][0])
        # As many as basis vectors keep of their length; all of them where there are
        # few, some drawn signs otherwise (Hutchinson's estimate).
        drawn = torch.Generator().manual_seed(0)
        total = torch.zeros(len(self.places), dtype=torch.float64)
        if count <= _EXACT:
            for each in torch.eye(count, dtype=torch.float64):
                parts = self.parts(each)
                total += torch.stack([(part * each).sum() for part in parts])
            return total.tolist()
        for _ in range(_DRAWN):
            signs = torch.randint(0, 2, (count,), generator=drawn).double() * 2 - 1
            total += torch.stack([(part * signs).sum() for part in self.parts(signs)])
        return (total / _DRAWN).clamp(min=0.0).tolist()


_EXACT: Final = 512
_DRAWN: Final = 64


def commuting(network: Symmetric, generators: Sequence[int]) -> bool:
    """Whether the means over the orbits of generators commute on every tied tensor."""
    drawn = torch.Generator().manual_seed(0)
    for _, tensor in tied(network):
        split = _split(network, tensor.axes, generators)
        w = torch.randn(math.prod(tensor.shape), generator=drawn, dtype=torch.float64)
        for one, two in itertools.combinations(range(len(generators)), 2):
            first = split.mean(one, split.mean(two, w))
            second = split.mean(two, split.mean(one, w))
            if not torch.allclose(first, second, atol=1e-9):
                return False
    return True


def _split(
    network: Symmetric, axes: Sequence[Axis], generators: Sequence[int]
) -> _Split:
    averages = []
    for each in generators:
        orbit = torch.from_numpy(orbits(network.family.group, [each], axes))
        size = torch.bincount(orbit).double()
        averages.append((orbit, size))
    return _Split(averages)


def relax(
    network: Symmetric,
    data: Data,
    recipe: Recipe,
    *,
    generators: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> Relaxed:
    """Return gates of generators, from one training.

    Args:
        network: of tied layers; it is not changed.
        data: what it learns.
        recipe: of the training, in one round.
        generators: elements; by default those of the family.
        seed: of values, examples and gates.
        progress: told the share that is done.

    Raises:
        UsageError: more than 8 generators, none, or some that do not commute.
    """
    family = network.family
    chosen = tuple(family.generators if generators is None else generators)
    names = [family.group.elements[each] for each in chosen]
    if not 1 <= len(chosen) <= _MOST or not commuting(network, chosen):
        raise UsageError(
            f"gates of {len(chosen)} generators: {', '.join(names[:8])}",
            rule=f"there are 1 to {_MOST} of them, and their means over orbits commute",
            where="trimtab.symmetry.relax",
            remedy="choose others, or enumerate the schemes with `fit`",
        )
    made = retie(network, family.schemes[0], seed=seed)
    prepared(made, data, recipe)
    state = _State(made, chosen)
    x, y = data.train
    drawn = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(
        [
            {"params": list(state.means.values()), "lr": recipe.learning_rate},
            {
                "params": [*state.logs.values(), state.logits],
                "lr": 10.0 * recipe.learning_rate,
            },
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for step in range(recipe.steps):
        done = step / recipe.steps
        shut = done > _OPEN
        temperature = _WARM + (_COLD - _WARM) * done
        gates = state.gates(temperature, drawn) if shut else torch.zeros(len(chosen))
        rows = torch.randint(len(x), (recipe.batch_size,), generator=drawn)
        weights = state.weights(gates, drawn)
        loss = F.cross_entropy(_called(made, weights, x[rows]), y[rows])
        phi = state.logits.sigmoid() if shut else torch.zeros(len(chosen))
        loss = loss + state.divergence(phi, shut=shut) / len(x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            progress(done)
    shares = state.logits.sigmoid().tolist()
    return Relaxed(gates=dict(zip(names, shares, strict=True)))


def _called(network: Symmetric, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    found: Tensor = functional_call(
        network, {f"{path}.values": each for path, each in weights.items()}, (x,)
    )
    return found


class _State:
    """What is learned: means, deviations of each eigenspace, gates."""

    def __init__(self, network: Symmetric, generators: Sequence[int]) -> None:
        self.tensors = dict(tied(network))
        self.splits = {
            path: _split(network, each.axes, generators)
            for path, each in self.tensors.items()
        }
        self.dimensions = {
            path: torch.tensor(split.dimensions())
            for path, split in self.splits.items()
        }
        self.places = torch.tensor(
            list(itertools.product((0, 1), repeat=len(generators)))
        )
        self.means = {
            path: each.values.detach().clone().requires_grad_()
            for path, each in self.tensors.items()
        }
        self.logs = {
            path: torch.full((len(self.places),), _LOG_SIGMA).requires_grad_()
            for path in self.tensors
        }
        self.logits = torch.zeros(len(generators), requires_grad=True)

    def gates(self, temperature: float, drawn: torch.Generator) -> Tensor:
        """Return gates that are 0 or 1, with the gradient of Concrete ones."""
        u = torch.rand(len(self.logits), generator=drawn).clamp(1e-6, 1 - 1e-6)
        soft = ((self.logits + u.log() - (1 - u).log()) / temperature).sigmoid()
        return (soft > 0.5).float() + soft - soft.detach()

    def survive(self, gates: Tensor) -> Tensor:
        """Return m_a for each eigenspace."""
        return torch.where(self.places == 1, 1.0, 1.0 - gates[None]).prod(1)

    def weights(self, gates: Tensor, drawn: torch.Generator) -> dict[str, Tensor]:
        """Return a draw of every tensor."""
        keep = self.survive(gates)
        found = {}
        for path, mean in self.means.items():
            noise = torch.randn(mean.shape, generator=drawn)
            split = self.splits[path]
            sigma = self.logs[path].exp()
            parts = zip(split.parts(mean), split.parts(noise), strict=True)
            total = torch.zeros_like(mean)
            for number, (one, two) in enumerate(parts):
                total = total + keep[number] * (one + sigma[number] * two)
            found[path] = total
        return found

    def lengths(self, path: str) -> Tensor:
        """Return the expected square length in each eigenspace."""
        parts = self.splits[path].parts(self.means[path])
        squares = torch.stack([(each**2).sum() for each in parts])
        return squares + self.dimensions[path] * (2 * self.logs[path]).exp()

    def divergence(self, phi: Tensor, *, shut: bool) -> Tensor:
        """Return all divergences, in nats."""
        keep = self.survive(phi)
        total = torch.zeros(())
        for path, tensor in self.tensors.items():
            dimension = self.dimensions[path]
            most = tensor.std**2 if tensor.std else 1.0
            length = self.lengths(path)
            variance = (length / dimension.clamp(min=1e-6)).clamp(_FLOOR, most)
            each = 0.5 * (
                length / variance
                + dimension * (variance.log() - 1.0 - 2.0 * self.logs[path])
            )
            total = total + (keep * each * (dimension > 0.5)).sum()
        if shut:
            total = (
                total
                + (
                    phi * (2.0 * phi.clamp(min=1e-6)).log()
                    + (1 - phi) * (2.0 * (1 - phi).clamp(min=1e-6)).log()
                ).sum()
            )
        return total
