"""Parle: replicas that relax the loss each for itself and are drawn to their mean.

After Chaudhari et al., "Parle: parallelizing stochastic gradient descent" (arXiv
1707.00424), from its equations. With mu^a where the round of replica a has led,

    x^a <- outer(x^a, (x^a - mu^a) + rho (x^a - mean_b mu^b)),

of which one replica with rho = 0 is Entropy-SGD, and gamma = 0 with one step a round
is elastic averaging. A round costs one all-reduce, of as many numbers as there are
weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.optimizer import ParamsT

from trimtab.errors import ReplicaError, UsageError
from trimtab.relax.exchange import Exchange, Processes
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.scopes import Constant, Scope

__all__ = ["Parle", "consensus"]


@final
class Parle(Relaxed):
    """A tethered relaxation in each of several replicas, coupled once a round.

    Replicas begin from the parameters of the first, and each should draw other data and
    noise; no `DistributedDataParallel` around the module.

    Args:
        params: parameters or groups of this replica.
        exchange: with the others; by default all processes of `torch.distributed`.
        coupling: rho: how strongly replicas are drawn to the mean, a number or a scope.
        keep: file of safetensors that the first replica writes the consensus to after
            each round, whole or not at all; its tensors are named by their number in
            the order of the parameters. That takes a second all-reduce.
        settings: of `Relaxed`.

    Raises:
        UsageError: as of `Relaxed`, or a relaxation without a tether.

    Example:
        >>> from torch import nn
        >>> from trimtab.relax.exchange import Together
        >>> both = Together(2)
        >>> nets = [nn.Linear(3, 1), nn.Linear(3, 1)]
        >>> opts = [
        ...     Parle(net.parameters(), exchange=both.member(), scope=1.0, steps=2)
        ...     for net in nets
        ... ]
        >>> for _ in range(4):
        ...     for net, opt in zip(nets, opts):
        ...         opt.zero_grad()
        ...         net(torch.randn(8, 3)).square().mean().backward()
        ...         opt.step()
        >>> [opt.rounds for opt in opts]
        [2, 2]
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        exchange: Exchange | None = None,
        coupling: Scope | float = 0.1,
        keep: Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(params, **settings)
        if self.inner is None:
            raise UsageError(
                f"replicas of relaxation {self.relaxation!r}",
                rule="they are drawn to where their rounds lead, and it has no such "
                "point",
                where="trimtab.relax.Parle",
                remedy="take local-entropy or hopf-lax",
            )
        self.exchange = Processes() if exchange is None else exchange
        if isinstance(coupling, int | float):
            coupling = Constant(coupling)
        self.coupling: Scope = coupling
        self.keep = keep
        with torch.no_grad():
            whole = self.exchange.first(self._bucket(self._every()))
            for each, part in zip(self._every(), self._parts_of(whole), strict=True):
                each.copy_(part)

    def _every(self) -> list[Tensor]:
        return [each for group in self.param_groups for each in group["params"]]

    @staticmethod
    def _bucket(tensors: list[Tensor]) -> Tensor:
        return torch.cat([each.detach().reshape(-1) for each in tensors])

    def _parts_of(self, bucket: Tensor) -> list[Tensor]:
        every = self._every()
        parts = torch.split(bucket, [each.numel() for each in every])
        return [part.view(each.shape) for part, each in zip(parts, every, strict=True)]

    def _iterates(self) -> list[Tensor]:
        return [self.state[each].get("iterate", each) for each in self._every()]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Use the gradients that the parameters have, as `Relaxed.step` does.

        Raises:
            ReplicaError: this replica waits for the others, or one of them is gone.
        """
        if self.position >= self.steps:
            raise ReplicaError(
                f"another step of replica {self.exchange.rank}",
                rule="it waits for the others at the end of a round",
                where="trimtab.relax.Parle",
                remedy="step all replicas by turns",
            )
        return super().step(closure)

    def _outer_step(self) -> None:
        every = self._every()
        reached = self._bucket([self._reached(each) for each in every])
        try:
            self.exchange.mean(reached, self._coupled)
        except ReplicaError as error:
            if self.keep is None or not self.keep.exists():
                raise
            raise ReplicaError(
                error.asked,
                rule=error.rule,
                where=f"{error.where}, round {self.rounds}",
                remedy=f"start again from the consensus in {self.keep}",
            ) from error

    @torch.no_grad()
    def _coupled(self, mean: Tensor) -> None:
        means = {
            id(each): part
            for each, part in zip(self._every(), self._parts_of(mean), strict=True)
        }
        rho = self.coupling.at(self.rounds)

        def pull(each: Tensor) -> Tensor:
            found: Tensor = self.state[each]["iterate"] - means[id(each)]
            return found.mul_(rho)

        self._finish(pull if rho else None)
        if self.keep is not None:
            self.exchange.mean(self._bucket(self._iterates()), self._kept)

    def _kept(self, mean: Tensor) -> None:
        if self.keep is None or self.exchange.rank:
            return
        names = {
            str(number): part.contiguous().clone()
            for number, part in enumerate(self._parts_of(mean))
        }
        draft = self.keep.with_name(f".{self.keep.name}.making")
        save_file(names, draft, metadata={"rounds": str(self.rounds)})
        draft.replace(self.keep)

    @contextlib.contextmanager
    def at_consensus(self) -> Iterator[None]:
        """Put the mean of all iterates into the parameters, then what was there back.

        Between processes every replica has to enter: it is an all-reduce. Of replicas
        in one process `consensus` gives the mean.
        """
        kept = [each.detach().clone() for each in self._every()]
        mean = self.exchange.now(self._bucket(self._iterates()))
        with torch.no_grad():
            for each, part in zip(self._every(), self._parts_of(mean), strict=True):
                each.copy_(part)
        try:
            yield
        finally:
            with torch.no_grad():
                for each, old in zip(self._every(), kept, strict=True):
                    each.copy_(old)


@torch.no_grad()
def consensus(replicas: Sequence[Parle]) -> list[Tensor]:
    """Return the mean of the iterates of replicas in one process, by parameter."""
    each = [replica._bucket(replica._iterates()) for replica in replicas]
    total = each[0].clone()
    for other in each[1:]:
        total.add_(other)
    return replicas[0]._parts_of(total.div_(len(each)))
