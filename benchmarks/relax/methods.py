"""Optimizers that are compared, each with configurations to choose from.

All take the same minibatches, and as many gradients: an optimizer that needs two for a
step takes half as many steps. Rates of SGD and of the outer steps of relaxations fall
along half a cosine; those within their rounds stay, as their sources have it, but for
Lookahead's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.relax.tasks import Split, Task
from trimtab.relax.norms import reestimate
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.rounds import Equilibrated

__all__ = ["METHODS", "Config", "Run", "grid", "trained"]

Config = dict[str, float]
_MOMENTUM: Final = 0.9
_NORMS: Final = 50  # batches that statistics of norms are taken from


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to train.

    Attributes:
        configs: eight; the large tasks try the first four.
        run: trains a module in place, or returns another one.
    """

    configs: tuple[Config, ...]
    run: Callable[[Run, Config], nn.Module]


class Run:
    """One training: its module, its batches, its gradients.

    Attributes:
        module: that is trained.
        left: gradients that are left.
    """

    def __init__(self, task: Task, split: Split, seed: int, gradients: int) -> None:
        self.task, self.seed = task, seed
        self.x, self.y = split.train
        torch.manual_seed(seed)
        self.module = task.make()
        self.drawn = torch.Generator().manual_seed(seed)
        self.whole = self.left = gradients

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the module."""
        return list(self.module.parameters())

    def cosine(self) -> float:
        """Return the factor of rates now."""
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - self.left / self.whole)))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the next examples, drawn with replacement."""
        rows = torch.randint(len(self.x), (self.task.batch,), generator=self.drawn)
        return self.x[rows], self.y[rows]

    def gradient(self, batch: tuple[Tensor, Tensor] | None = None) -> None:
        """Leave a new gradient in the parameters."""
        self.left -= 1
        x, y = self.batch() if batch is None else batch
        self.module.zero_grad()
        F.cross_entropy(self.module(x), y).backward()  # type: ignore[no-untyped-call]

    def sgd(self, rate: float) -> torch.optim.SGD:
        """Return SGD with Nesterov momentum over all parameters."""
        return torch.optim.SGD(
            self.parameters, lr=rate, momentum=_MOMENTUM, nesterov=True,
            weight_decay=self.task.decay,
        )  # fmt: skip


def _rated(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _sgd(run: Run, config: Config) -> nn.Module:
    optimizer = run.sgd(config["lr"])
    while run.left:
        _rated(optimizer, config["lr"] * run.cosine())
        run.gradient()
        optimizer.step()
    return run.module


def _averaging(run: Run, decay: float) -> AveragedModel:
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(run.module, multi_avg_fn=average)


def _ema(run: Run, config: Config) -> nn.Module:
    optimizer, average = run.sgd(config["lr"]), _averaging(run, config["decay"])
    while run.left:
        _rated(optimizer, config["lr"] * run.cosine())
        run.gradient()
        optimizer.step()
        average.update_parameters(run.module)
    found: nn.Module = average.module
    return found


def _swa(run: Run, config: Config) -> nn.Module:
    """Average weights of every tenth step of the last quarter, at a rate that stays."""
    optimizer, average = run.sgd(config["lr"]), AveragedModel(run.module)
    last = config["share"] * config["lr"]
    while run.left:
        early = run.left > run.whole // 4
        _rated(optimizer, max(last, config["lr"] * run.cosine()) if early else last)
        run.gradient()
        optimizer.step()
        if not early and run.left % 10 == 0:
            average.update_parameters(run.module)
    found: nn.Module = average.module
    return found


@torch.no_grad()
def _sam(run: Run, config: Config) -> nn.Module:
    """Foret et al., arXiv 2010.01412: both gradients of the same batch."""
    optimizer = run.sgd(config["lr"])
    while run.left > 1:
        _rated(optimizer, config["lr"] * run.cosine())
        batch = run.batch()
        with torch.enable_grad():
            run.gradient(batch)
        weights: list[Tensor] = list(run.parameters)
        norm = torch.stack(
            [each.grad.norm() for each in weights if each.grad is not None]
        ).norm()
        moves = [
            each.grad * (config["rho"] / (norm + 1e-12))
            for each in weights
            if each.grad is not None
        ]
        torch._foreach_add_(weights, moves)
        with torch.enable_grad():
            run.gradient(batch)
        torch._foreach_sub_(weights, moves)
        optimizer.step()
    return run.module


def _relaxed(
    run: Run, config: Config, average: AveragedModel | None = None, **settings: Any
) -> nn.Module:
    rate = config.get("outer", 1.0)
    relaxation = settings["relaxation"]
    tethered = relaxation in ("local-entropy", "hopf-lax")
    momentum = 0.0 if tethered else _MOMENTUM
    inner = (lambda groups: run.sgd(config["lr"])) if tethered else None
    optimizer = Relaxed(
        run.parameters,
        inner=inner,
        outer=lambda groups: torch.optim.SGD(
            groups, lr=rate, momentum=momentum, nesterov=not tethered,
            weight_decay=0.0 if tethered else run.task.decay,
        ),
        scope=config["gamma"],
        generator=torch.Generator().manual_seed(run.seed),
        **{"steps": int(config["steps"]), **settings},
    )  # fmt: skip
    anneal_inner = settings.get("newest") == 1.0
    while run.left:
        factor = run.cosine()
        if anneal_inner:
            assert optimizer.inner is not None
            _rated(optimizer.inner, config["lr"] * factor)
        elif optimizer.position == 0:
            _rated(optimizer.outer, rate * factor)
        run.gradient()
        optimizer.step()
        if average is not None and optimizer.position == 0:
            with optimizer.at_iterate():
                average.update_parameters(run.module)
    optimizer.settle()
    if average is not None:
        found: nn.Module = average.module
        return found
    return run.module


def _lookahead(run: Run, config: Config) -> nn.Module:
    return _relaxed(run, config, relaxation="local-entropy", newest=1.0)


def _entropy(run: Run, config: Config) -> nn.Module:
    return _relaxed(run, config, relaxation="local-entropy")


def _forgetful(run: Run, config: Config) -> nn.Module:
    return _relaxed(run, config, relaxation="local-entropy", reset_inner=True)


def _noisy(run: Run, config: Config) -> nn.Module:
    return _relaxed(
        run,
        config,
        relaxation="local-entropy",
        temperature=config["temperature"],
    )


def _equilibrated(run: Run, config: Config) -> nn.Module:
    length = Equilibrated(config["share"], least=5, most=50)
    return _relaxed(run, config, relaxation="local-entropy", steps=length)


def _entropy_ema(run: Run, config: Config) -> nn.Module:
    average = _averaging(run, config["decay"])
    return _relaxed(run, config, average, relaxation="local-entropy")


def _hopf_lax(run: Run, config: Config) -> nn.Module:
    return _relaxed(run, config, relaxation="hopf-lax")


def _fixed_point(run: Run, config: Config) -> nn.Module:
    return _relaxed(run, config, relaxation="hopf-lax-fixed-point")


def _heat(run: Run, config: Config) -> nn.Module:
    return _relaxed(
        run,
        {**config, "gamma": 1.0},
        relaxation="heat",
        temperature=config["width"] ** 2,
    )


def _each(**lists: list[float]) -> tuple[Config, ...]:
    """Return configurations from lists as long as each other."""
    names = list(lists)
    return tuple(
        dict(zip(names, values, strict=True))
        for values in zip(*lists.values(), strict=True)
    )


METHODS: Final[Mapping[str, Method]] = {
    "sgd": Method(
        configs=_each(lr=[0.03, 0.1, 0.2, 0.01, 0.02, 0.05, 0.4, 0.005]), run=_sgd
    ),
    "ema": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.2, 0.4],
            decay=[0.99, 0.99, 0.998, 0.99, 0.998, 0.995, 0.998, 0.99],
        ),
        run=_ema,
    ),
    "swa": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.2, 0.4],
            share=[0.5, 0.5, 0.2, 0.2, 0.2, 0.5, 0.5, 0.2],
        ),
        run=_swa,
    ),
    "sam": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.1, 0.2],
            rho=[0.05, 0.05, 0.1, 0.05, 0.1, 0.1, 0.2, 0.2],
        ),
        run=_sam,
    ),
    "lookahead": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.2, 0.4],
            outer=[0.5] * 8,
            steps=[5, 5, 20, 5, 20, 5, 20, 5],
            gamma=[0.0] * 8,
        ),
        run=_lookahead,
    ),
    "local-entropy": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.03, 0.1, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.1, 0.1, 0.5, 0.03, 0.1, 0.5, 0.5, 0.1],
            steps=[20, 20, 20, 20, 20, 5, 5, 20],
        ),
        run=_entropy,
    ),
    "local-entropy, noise": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.1, 0.03, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.1, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1],
            steps=[20, 20, 20, 20, 20, 5, 5, 20],
            temperature=[1e-8, 1e-8, 1e-6, 1e-6, 1e-8, 1e-6, 1e-6, 1e-6],
        ),
        run=_noisy,
    ),
    "local-entropy, momentum forgotten": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.03, 0.1, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.1, 0.1, 0.5, 0.03, 0.1, 0.5, 0.5, 0.1],
            steps=[20, 20, 20, 20, 20, 5, 5, 20],
        ),
        run=_forgetful,
    ),
    "local-entropy, equilibrated": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.03, 0.1, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.3, 0.1, 1.0, 0.3, 0.1, 0.3, 1.0, 0.3],
            share=[0.9, 0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.9],
            steps=[0] * 8,
        ),
        run=_equilibrated,
    ),
    "local-entropy, ema": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.03, 0.1, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.1, 0.1, 0.5, 0.1, 0.1, 0.5, 0.5, 0.1],
            decay=[0.9, 0.9, 0.9, 0.7, 0.7, 0.9, 0.9, 0.7],
            steps=[20, 20, 20, 20, 20, 5, 5, 20],
        ),
        run=_entropy_ema,
    ),
    "hopf-lax": Method(
        configs=_each(
            lr=[0.03, 0.1, 0.03, 0.1, 0.2, 0.05, 0.1, 0.02],
            gamma=[0.03, 0.03, 0.1, 0.1, 0.03, 0.3, 0.1, 0.1],
            steps=[20, 20, 20, 20, 20, 5, 5, 20],
        ),
        run=_hopf_lax,
    ),
    "hopf-lax-fixed-point": Method(
        configs=_each(
            outer=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.2, 0.4],
            gamma=[1.0, 1.0, 3.0, 3.0, 3.0, 1.0, 1.0, 3.0],
            steps=[2, 2, 2, 2, 5, 5, 5, 5],
        ),
        run=_fixed_point,
    ),
    "heat": Method(
        configs=_each(
            outer=[0.03, 0.1, 0.1, 0.2, 0.03, 0.05, 0.2, 0.4],
            width=[0.01, 0.01, 0.03, 0.03, 0.03, 0.06, 0.06, 0.01],
            steps=[2] * 8,
        ),
        run=_heat,
    ),
}
"""By name; `sgd` is what all others are compared with."""


def grid(task: Task, method: str) -> tuple[Config, ...]:
    """Return the configurations that a task tries of a method."""
    every = METHODS[method].configs
    return every if task.small else every[:4]


def trained(
    task: Task, split: Split, method: str, config: Config, seed: int, *, times: int = 1
) -> nn.Module:
    """Return a network in evaluation mode, statistics of its norms taken anew.

    Args:
        task: what is learned.
        split: its examples.
        method: of `METHODS`.
        config: its numbers.
        seed: of weights, batches and noise.
        times: the gradients of a task, so many times over.
    """
    run = Run(task, split, seed, task.gradients * times)
    run.module.train()
    found = copy.deepcopy(METHODS[method].run(run, config))
    reestimate(found, [run.batch()[0] for _ in range(_NORMS)])
    return found.eval()
