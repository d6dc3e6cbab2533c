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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.optimizer import ParamsT

from trimtab.errors import DataError, ReplicaError, UsageError
from trimtab.relax.exchange import Exchange, Processes
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.scopes import Constant, Scope

__all__ = ["Parle", "consensus", "load_consensus"]


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
        if keep is not None and not keep.absolute().parent.is_dir():
            raise UsageError(
                f"the consensus to be kept in {str(keep)!r}",
                rule="its folder does not exist",
                where="trimtab.relax.Parle",
                remedy="make the folder first",
            )
        self.keep = keep
        self._waits = False  # for the others, at the end of a round
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

    def _require_turn(self) -> None:
        if self._waits:
            raise ReplicaError(
                f"another step of replica {self.exchange.rank}",
                rule="it waits for the others at the end of a round",
                where="trimtab.relax.Parle",
                remedy="step all replicas by turns",
            )

    def _outer_step(self) -> None:
        reached = self._bucket([self._reached(each) for each in self._every()])
        if self.exchange.narrow:
            reached -= self._reference()
        self._waits = True
        try:
            self.exchange.mean(reached, self._coupled)
        except ReplicaError as error:
            raise self._with_place(error) from error

    def _reference(self) -> Tensor:
        """Return the last mean, which every replica knows: moves since are small."""
        for each in self._every():
            if "reference" not in self.state[each]:
                start = self.state[each].get("iterate", each)
                self.state[each]["reference"] = start.detach().clone()
        return self._bucket([self.state[each]["reference"] for each in self._every()])

    def _with_place(self, error: ReplicaError) -> ReplicaError:
        if self.keep is None or not self.keep.exists():
            return error
        return ReplicaError(
            error.asked,
            rule=error.rule,
            where=f"{error.where}, round {self.rounds}",
            remedy=f"start again from the consensus in {self.keep}, see "
            "`trimtab.relax.load_consensus`",
        )

    @torch.no_grad()
    def _coupled(self, mean: Tensor) -> None:
        if self.exchange.narrow:
            mean = mean + self._reference()
        if not bool(mean.isfinite().all()):
            raise ReplicaError(
                f"the mean of {self.exchange.replicas} replicas",
                rule="weights of one of them are infinite or NaN",
                where=f"trimtab.relax.Parle, round {self.rounds}",
                remedy="lower its learning rate, or look at its data",
            )
        means = {
            id(each): part
            for each, part in zip(self._every(), self._parts_of(mean), strict=True)
        }
        rho = self.coupling.at(self.rounds)

        def pull(each: Tensor) -> Tensor:
            found: Tensor = self.state[each]["iterate"] - means[id(each)]
            return found.mul_(rho)

        self._waits = False
        self._finish(pull if rho else None)
        if self.exchange.narrow:
            for each in self._every():
                self.state[each]["reference"].copy_(means[id(each)])
        if self.keep is not None:
            whole = self._bucket(self._iterates())
            if isinstance(self.exchange, Processes):
                self._kept(self.exchange.now(whole))
            else:
                self.exchange.mean(whole, self._kept)

    @torch.no_grad()
    def settle(self, *, finish: bool = True) -> None:
        """End the round where it is, together with the other replicas.

        Args:
            finish: as of `Relaxed.settle`; without, no other replica is waited for.

        Raises:
            ReplicaError: replicas have taken different numbers of gradients.
            UsageError: a call within `at_iterate`.
        """
        if finish and isinstance(self.exchange, Processes):
            mine = torch.tensor([self.rounds, self.position], dtype=torch.float64)
            mean = self.exchange.now(mine)
            if not torch.equal(mine, mean):
                raise ReplicaError(
                    f"replica {self.exchange.rank} at round {self.rounds}, gradient "
                    f"{self.position}",
                    rule="others are elsewhere: all take the same number of gradients",
                    where="trimtab.relax.Parle",
                    remedy="give every replica as many batches",
                )
        super().settle(finish=finish)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as `Relaxed` does.

        Raises:
            ReplicaError: the replica waits for others at the end of a round.
        """
        if self._waits:
            raise ReplicaError(
                f"the state of replica {self.exchange.rank}",
                rule="it waits for the others at the end of a round",
                where="trimtab.relax.Parle",
                remedy="take it when all have taken their step",
            )
        return super().state_dict()

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
        self._refuse_shown("the consensus")
        mean = self.exchange.now(self._bucket(self._iterates()))
        parts = zip(self._every(), self._parts_of(mean), strict=True)
        with self._showing(dict(parts)):
            yield


@torch.no_grad()
def consensus(replicas: Sequence[Parle]) -> list[Tensor]:
    """Return the mean of the iterates of replicas in one process, by parameter."""
    each = [replica._bucket(replica._iterates()) for replica in replicas]
    total = each[0].clone()
    for other in each[1:]:
        total.add_(other)
    return replicas[0]._parts_of(total.div_(len(each)))


@torch.no_grad()
def load_consensus(path: Path, parameters: Iterable[Tensor]) -> int:
    """Put the consensus that `Parle` has kept into parameters.

    Args:
        path: its file.
        parameters: in the order that the optimizer was given.

    Returns:
        Rounds after which it was kept.

    Raises:
        DataError: the file is absent, damaged, or of other parameters.

    Example:
        >>> import tempfile
        >>> x = torch.ones(2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "kept.safetensors"
        ...     save_file({"0": torch.tensor([3.0, 4.0])}, path, {"rounds": "7"})
        ...     load_consensus(path, [x])
        7
        >>> x
        tensor([3., 4.])
    """
    every = list(parameters)
    try:
        with safe_open(path, framework="pt") as file:
            rounds = int((file.metadata() or {}).get("rounds", "0"))
            found = [file.get_tensor(str(number)) for number in range(len(every))]
            count = len(file.keys())
    except (OSError, SafetensorError, ValueError) as error:
        raise _no_consensus(path, str(error).splitlines()[0]) from error
    shapes = [tuple(each.shape) for each in every]
    if count != len(every) or [tuple(each.shape) for each in found] != shapes:
        raise _no_consensus(path, "its tensors have other shapes than the parameters")
    for each, value in zip(every, found, strict=True):
        each.copy_(value)
    return rounds


def _no_consensus(path: Path, rule: str) -> DataError:
    return DataError(
        f"consensus {str(path)!r}",
        rule=rule,
        where="trimtab.relax.load_consensus",
        remedy="give the file that `Parle(keep=...)` has written, and the parameters "
        "in the same order",
    )
