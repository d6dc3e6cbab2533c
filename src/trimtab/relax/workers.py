"""Replicas on a Ray cluster, each a worker of Ray Train."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.bundle.stage import Data
from trimtab.errors import MissingExtraError, ReplicaError, UsageError
from trimtab.relax.exchange import Processes
from trimtab.relax.norms import reestimate
from trimtab.relax.parle import Parle
from trimtab.training.data import Dataset
from trimtab.training.loop import batches_of, evaluate, fit
from trimtab.training.settings import Settings

__all__ = ["Fitted", "fit_on_ray", "part_of"]

_WEIGHTS, _RECORD = "consensus.safetensors", "record.json"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What replicas have agreed on.

    Attributes:
        module: with the mean of their weights, in evaluation mode.
        rounds: outer steps.
        evaluations: gradients of each replica.
        communicated_bytes: that each replica has sent.
        test_loss: nats, of the consensus.
        test_accuracy_frac: of the consensus.
    """

    module: nn.Module
    rounds: int
    evaluations: int
    communicated_bytes: int
    test_loss: float
    test_accuracy_frac: float


def part_of(data: Data, rank: int, replicas: int) -> Dataset:
    """Return the examples of a replica: every so-manieth, as many for each.

    Args:
        data: of all.
        rank: of the replica, from 0.
        replicas: how many there are.

    Raises:
        UsageError: fewer examples than replicas.
    """
    x, y = data.train
    each = len(x) // replicas
    if not each:
        raise UsageError(
            f"{len(x)} examples for {replicas} replicas",
            rule="each learns from at least one",
            where=f"data {data.name!r}",
            remedy="take fewer replicas",
        )
    rows = torch.arange(rank, len(x), replicas)[:each]
    return Dataset(
        name=f"{data.name}, part {rank + 1} of {replicas}",
        train=(x[rows], y[rows]),
        test=data.test,
        classes=int(max(y.max(), data.test[1].max())) + 1,
    )


def fit_on_ray(
    make: Callable[[], nn.Module],
    data: Callable[[], Data],
    settings: Settings,
    *,
    replicas: int,
    storage: Path,
    parle: Mapping[str, Any] | None = None,
    payload: torch.dtype | None = None,
    cpus: float = 1.0,
    name: str = "parle",
) -> Fitted:
    """Train replicas by `Parle` on the Ray cluster that this process is connected to.

    Each worker builds its network, takes its part of the examples, and draws their
    order and its noise by a seed of its own. There is no `prepare_model`: replicas are
    to differ. Statistics of batch norms are those of the first replica's examples at
    the consensus.

    Args:
        make: builds the network; called in every worker, with the same random state.
        data: loads the examples; called in every worker.
        settings: of the training loop of each.
        replicas: workers.
        storage: folder that all of them reach: the consensus is in there after each
            round, ``NAME/consensus.safetensors``, tensors named by number.
        parle: further arguments of `Parle`.
        payload: type that weights are sent as, see `Processes`.
        cpus: of each worker.
        name: of the run, a folder in `storage`.

    Raises:
        MissingExtraError: Ray is not installed.
        ReplicaError: a worker failed; the message says where the consensus is.
        UsageError: fewer than one replica.
    """
    try:
        import ray.train as ray_train
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise MissingExtraError(
            "replicas on a Ray cluster",
            rule="Ray is not installed",
            where="trimtab.relax.fit_on_ray",
            remedy='pip install "trimtab[cluster]"',
        ) from error
    if replicas < 1:
        raise UsageError(
            f"{replicas} replicas",
            rule="there is at least one",
            where="trimtab.relax.fit_on_ray",
            remedy="give 2 or more",
        )
    storage = storage.absolute()
    folder = storage / name
    folder.mkdir(parents=True, exist_ok=True)
    keep = folder / _WEIGHTS
    keep.unlink(missing_ok=True)  # of an earlier run

    def work(_: dict[str, Any]) -> None:
        _work(make, data, settings, dict(parle or {}), payload, keep)

    trainer = TorchTrainer(
        work,
        train_loop_config={},
        scaling_config=ray_train.ScalingConfig(
            num_workers=replicas, resources_per_worker={"CPU": cpus}
        ),
        torch_config=TorchConfig(backend="gloo"),
        run_config=ray_train.RunConfig(storage_path=str(storage), name=name),
    )
    try:
        result = trainer.fit()
    except Exception as error:  # Ray's own errors differ from version to version
        kept = (
            f"; the consensus of the last round is in {keep}" if keep.exists() else ""
        )
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ReplicaError(
            f"a training of {replicas} replicas",
            rule=f"a worker failed: {reason[:300]}{kept}",
            where=str(folder),
            remedy="read its error above; start again from the consensus",
        ) from error
    if result.checkpoint is None:
        raise ReplicaError(
            f"a training of {replicas} replicas",
            rule="it ended without a result",
            where=str(folder),
            remedy="read the log of the first worker there",
        )
    with result.checkpoint.as_directory() as held:
        record = json.loads((Path(held) / _RECORD).read_text("utf-8"))
        weights = load_file(Path(held) / _WEIGHTS)
    module = make()
    module.load_state_dict(weights)
    return Fitted(module=module.eval(), **record)


def _work(
    make: Callable[[], nn.Module],
    data: Callable[[], Data],
    settings: Settings,
    parle: dict[str, Any],
    payload: torch.dtype | None,
    keep: Path,
) -> None:
    """Train one replica; the first reports what all have agreed on."""
    import ray.train as ray_train

    exchange = Processes(payload=payload)
    rank = exchange.rank
    torch.manual_seed(settings.seed)
    module = make()
    part = part_of(data(), rank, exchange.replicas)
    made: list[Parle] = []

    def optimizer(parameters: list[nn.Parameter]) -> Parle:
        noise = torch.Generator().manual_seed(settings.seed + 1 + rank)
        made.append(
            Parle(parameters, exchange=exchange, keep=keep, generator=noise, **parle)
        )
        return made[0]

    fit(module, part, replace(settings, seed=settings.seed + rank), optimizer=optimizer)
    opt = made[0]
    with opt.at_consensus():
        reestimate(module, batches_of(part.train[0], settings.batch_size), most=50)
        loss, accuracy = evaluate(module, *part.test)
        record = {
            "rounds": opt.rounds,
            "evaluations": opt.evaluations,
            "communicated_bytes": exchange.communicated_bytes,
            "test_loss": loss,
            "test_accuracy_frac": accuracy,
        }
        if rank:
            ray_train.report(record)  # which waits for all workers
            return
        with tempfile.TemporaryDirectory() as held:
            weights = {
                key: each.contiguous().clone()
                for key, each in module.state_dict().items()
            }
            save_file(weights, Path(held) / _WEIGHTS)
            (Path(held) / _RECORD).write_text(json.dumps(record), "utf-8")
            ray_train.report(
                record, checkpoint=ray_train.Checkpoint.from_directory(held)
            )
