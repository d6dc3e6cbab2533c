"""How replicas of a training tell each other where they are.

One mean over all replicas ends a round. Between processes it is one all-reduce of
`torch.distributed`; within one process the replica that arrives last carries it out
for all, so that both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, final

import torch
import torch.distributed as dist
from torch import Tensor

from trimtab.errors import ReplicaError, UsageError

__all__ = ["Exchange", "Processes", "Together"]

Then = Callable[[Tensor], None]


class Exchange(Protocol):
    """A mean over replicas.

    Attributes:
        narrow: whether `mean` sends fewer bits than a bucket has: it is for what is
            small and comes again next round, such as moves since the last mean.
        replicas: how many there are.
        rank: which one this is, from 0.
        communicated_bytes: that this replica has sent into means.
    """

    replicas: int
    rank: int
    communicated_bytes: int
    narrow: bool

    def first(self, bucket: Tensor) -> Tensor:
        """Return the bucket of the first replica."""
        ...

    def mean(self, bucket: Tensor, then: Then) -> None:
        """Call with the mean over replicas, as soon as all have given theirs."""
        ...

    def now(self, bucket: Tensor) -> Tensor:
        """Return the mean over replicas, which all ask for at once."""
        ...


@final
class Processes:
    """Replicas in processes of their own, by `torch.distributed`.

    Args:
        group: of processes; None for all.
        payload: type that the buckets of a round are sent as, such as
            `torch.bfloat16`, which halves their bytes; None sends them as they are.

    Raises:
        UsageError: torch.distributed is not set up.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        payload: torch.dtype | None = None,
    ) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise UsageError(
                "replicas in processes of their own",
                rule="torch.distributed is not set up in this one",
                where="trimtab.relax.Processes",
                remedy='call torch.distributed.init_process_group("gloo", ...) first, '
                "or let torchrun or Ray Train do it",
            )
        self.group, self.payload = group, payload
        self.replicas, self.rank = dist.get_world_size(group), dist.get_rank(group)
        self.communicated_bytes = 0
        self.narrow = payload is not None

    def first(self, bucket: Tensor) -> Tensor:
        """Return the bucket of the first replica."""
        found = bucket.clone()
        source = dist.get_global_rank(self.group, 0) if self.group else 0
        self._safely(lambda: dist.broadcast(found, source, group=self.group))
        return found

    def mean(self, bucket: Tensor, then: Then) -> None:
        """Call with the mean over replicas.

        Raises:
            ReplicaError: another replica is gone, or late for longer than the timeout
                of the group.
        """
        then(self._mean(bucket, self.payload))

    def now(self, bucket: Tensor) -> Tensor:
        """Return the mean over replicas, in full precision.

        Raises:
            ReplicaError: another replica is gone, or late for longer than the timeout
                of the group.
        """
        return self._mean(bucket, None)

    def _mean(self, bucket: Tensor, payload: torch.dtype | None) -> Tensor:
        sent = bucket.clone() if payload is None else bucket.to(payload)
        self._safely(lambda: dist.all_reduce(sent, group=self.group))
        self.communicated_bytes += sent.numel() * sent.element_size()
        return sent.to(bucket.dtype).div_(self.replicas)

    def _safely(self, call: Callable[[], object]) -> None:
        try:
            call()
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            raise ReplicaError(
                f"a mean over {self.replicas} replicas",
                rule=f"one of them is gone or late: {reason[:200]}",
                where=f"replica {self.rank}",
                remedy="start all of them again from the consensus that was kept last",
            ) from error


@final
class Together:
    """Replicas in one process, that take their steps by turns.

    Args:
        replicas: how many there will be; each optimizer takes `member` as its exchange.

    Raises:
        UsageError: fewer than one, or more members than that.
    """

    def __init__(self, replicas: int) -> None:
        if replicas < 1:
            raise UsageError(
                f"{replicas} replicas",
                rule="there is at least one",
                where="trimtab.relax.Together",
                remedy="give 2 or more",
            )
        self.replicas = replicas
        self._members: list[_Member] = []
        self._arrived: dict[int, tuple[Tensor, Then]] = {}
        self._first: Tensor | None = None

    def member(self) -> Exchange:
        """Return the exchange of the next replica."""
        if len(self._members) == self.replicas:
            raise UsageError(
                f"member {len(self._members) + 1} of {self.replicas} replicas",
                rule="all of them are there",
                where="trimtab.relax.Together",
                remedy="give the number of replicas at the start",
            )
        self._members.append(_Member(self, len(self._members)))
        return self._members[-1]

    def _arrive(self, rank: int, bucket: Tensor, then: Then) -> None:
        if rank in self._arrived:
            raise ReplicaError(
                f"another step of replica {rank}",
                rule="it waits for the others at the end of a round",
                where="trimtab.relax.Together",
                remedy="step all replicas by turns",
            )
        self._arrived[rank] = (bucket.clone(), then)
        if len(self._arrived) < self.replicas:
            return
        waiting = [self._arrived[each] for each in range(self.replicas)]
        self._arrived = {}
        total = waiting[0][0].clone()
        for other, _ in waiting[1:]:
            total.add_(other)
        total.div_(self.replicas)
        for _, each in waiting:
            each(total.clone())


@final
class _Member:
    """One replica of `Together`."""

    def __init__(self, together: Together, rank: int) -> None:
        self._together = together
        self.rank, self.replicas = rank, together.replicas
        self.communicated_bytes = 0
        self.narrow = False

    def first(self, bucket: Tensor) -> Tensor:
        """Return the bucket of the first replica."""
        if self._together._first is None:
            self._together._first = bucket.clone()
        return self._together._first.clone()

    def mean(self, bucket: Tensor, then: Then) -> None:
        """Call with the mean over replicas, once the last has given its bucket."""
        self.communicated_bytes += bucket.numel() * bucket.element_size()
        self._together._arrive(self.rank, bucket, then)

    def now(self, bucket: Tensor) -> Tensor:
        """Refuse: within one process the others cannot ask at the same time.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"a mean over {len(bucket)} numbers at once",
            rule="the other replicas are in this process, and cannot ask now",
            where="trimtab.relax.Together",
            remedy="use `trimtab.relax.consensus` of all their optimizers",
        )
