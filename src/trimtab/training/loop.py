"""The one training loop: deterministic for a seed and a number of threads."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.errors import DataError, UsageError
from trimtab.training.settings import Settings, schedule_factor

__all__ = [
    "Epoch",
    "History",
    "Indirect",
    "OptimizerFactory",
    "Progress",
    "Settings",
    "batches_of",
    "evaluate",
    "fit",
    "schedule_factor",
]

OptimizerFactory = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the training stands after a step.

    Attributes:
        epoch: from 1.
        epochs: how many there will be.
        step: from 1, over all epochs.
        steps: how many there will be.
        loss: of the batch of this step.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass over the training examples led to.

    Attributes:
        train_loss: mean over the examples, each as its batch was met.
        train_accuracy_frac: share right, each as its batch was met.
        test_loss: after the epoch.
        test_accuracy_frac: after the epoch.
        learning_rate: of the last step, of the first group of parameters.
    """

    train_loss: float
    train_accuracy_frac: float
    test_loss: float
    test_accuracy_frac: float
    learning_rate: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The epochs of a training.

    Attributes:
        epochs: in order; the same for the same seed and number of threads.
        wall_s: time of each epoch: an observation, not part of equality.
    """

    epochs: tuple[Epoch, ...]
    wall_s: tuple[float, ...] = field(compare=False)


@runtime_checkable
class Indirect(Protocol):
    """An optimizer whose weights are not those that gradients are taken at."""

    @property
    def scheduled(self) -> list[dict[str, Any]]:
        """Groups whose learning rates the schedule multiplies."""

    def at_iterate(self) -> contextlib.AbstractContextManager[None]:
        """Put its weights into the parameters, and take them out again."""
        ...

    def settle(self, *, finish: bool = True) -> None:
        """Leave them there, and finish what was begun, unless an error ended it."""
        ...


def fit(
    module: nn.Module,
    dataset: Data,
    settings: Settings,
    *,
    optimizer: OptimizerFactory | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> History:
    """Train the module in place by cross entropy; it is left in evaluation mode.

    The global random state of torch is the same afterwards as before.

    Args:
        module: from inputs to scores of shape (batch, classes).
        dataset: what it learns and what it is tested on.
        settings: all numbers.
        optimizer: makes an optimizer of the trainable parameters instead of the one in
            the settings. Its step is given a closure that computes loss and gradients
            anew and may call it as often as it likes, at least once. The schedule
            multiplies the learning rates that its groups begin with. One that is
            `Indirect` is judged, and left, at its own weights, with the statistics of
            batch norms that the training met.
        progress: called after each step.

    Raises:
        UsageError: nothing to train, scores of a wrong shape, or a loss that became
            infinite or NaN.
        DataError: inputs that are infinite or NaN.

    Example:
        >>> from trimtab.training.data import Dataset
        >>> x, y = torch.eye(4), torch.arange(4)
        >>> data = Dataset(name="eye", train=(x, y), test=(x, y), classes=4)
        >>> history = fit(nn.Linear(4, 4), data, Settings(epochs=20, learning_rate=1))
        >>> history.epochs[-1].test_accuracy_frac
        1.0
    """
    parameters = [each for each in module.parameters() if each.requires_grad]
    if not parameters:
        raise UsageError(
            f"training of a {type(module).__name__}",
            rule="it has no parameter that requires a gradient",
            remedy="give a module with weights, or unfreeze some",
        )
    made = optimizer(parameters) if optimizer else _optimizer(parameters, settings)
    with _threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        try:
            history = _epochs(module, dataset, settings, made, progress)
        except BaseException:
            if isinstance(made, Indirect):
                made.settle(finish=False)
            raise
        else:
            if isinstance(made, Indirect):
                made.settle()
            return history
        finally:
            module.eval()


def evaluate(
    module: nn.Module, x: Tensor, y: Tensor, *, batch_size: int = 512
) -> tuple[float, float]:
    """Return cross entropy and the share right, in evaluation mode.

    Args:
        module: its mode is the same afterwards.
        x: inputs (n, ...).
        y: targets (n,).
        batch_size: examples at once.

    Raises:
        UsageError: no examples.

    Example:
        >>> evaluate(nn.Identity(), torch.eye(2) * 100, torch.arange(2))
        (0.0, 1.0)
    """
    if len(x) == 0 or len(x) != len(y):
        raise UsageError(
            f"evaluation of {len(x)} inputs and {len(y)} targets",
            rule="there must be as many of both, at least one",
            remedy="give the examples with their targets",
        )
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    loss, right = 0.0, 0
    try:
        with torch.no_grad():
            for inputs, targets in zip(
                torch.split(x, batch_size), torch.split(y, batch_size), strict=True
            ):
                scores = module(inputs)
                loss += float(F.cross_entropy(scores, targets, reduction="sum"))
                right += int((scores.argmax(1) == targets).sum())
    finally:
        for each, mode in modes:
            each.training = mode
    return loss / len(x), right / len(x)


def _epochs(
    module: nn.Module,
    dataset: Data,
    settings: Settings,
    optimizer: torch.optim.Optimizer,
    progress: Callable[[Progress], None] | None,
) -> History:
    x, y = dataset.train
    order = torch.Generator().manual_seed(settings.seed)
    steps = settings.epochs * len(batches_of(torch.arange(len(x)), settings.batch_size))
    groups = optimizer.param_groups
    if isinstance(optimizer, Indirect):
        groups = optimizer.scheduled
    rates = [group.get("lr") for group in groups]
    step = 0
    epochs: list[Epoch] = []
    wall_s: list[float] = []
    for epoch in range(1, settings.epochs + 1):
        begin = time.perf_counter()
        module.train()
        loss, right = 0.0, 0
        shuffled = torch.randperm(len(x), generator=order)
        for rows in batches_of(shuffled, settings.batch_size):
            factor = schedule_factor(settings, step, steps)
            for group, rate in zip(groups, rates, strict=True):
                if rate is not None:
                    group["lr"] = rate * factor
            step += 1
            first = _step(module, x[rows], y[rows], optimizer, settings, step)
            loss += first[0] * len(rows)
            right += first[1]
            if progress is not None:
                progress(
                    Progress(
                        epoch=epoch,
                        epochs=settings.epochs,
                        step=step,
                        steps=steps,
                        loss=first[0],
                    )
                )
        with (
            optimizer.at_iterate()
            if isinstance(optimizer, Indirect)
            else contextlib.nullcontext()
        ):
            test_loss, test_accuracy = evaluate(module, *dataset.test)
        epochs.append(
            Epoch(
                train_loss=loss / len(x),
                train_accuracy_frac=right / len(x),
                test_loss=test_loss,
                test_accuracy_frac=test_accuracy,
                learning_rate=_rate(groups),
            )
        )
        wall_s.append(time.perf_counter() - begin)
    return History(epochs=tuple(epochs), wall_s=tuple(wall_s))


def _step(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    step: int,
) -> tuple[float, int]:
    """Take a step; return loss and number right at the first call of the closure."""
    met: list[tuple[float, int]] = []

    def closure() -> float:
        with torch.enable_grad():
            optimizer.zero_grad()
            scores = module(x)
            if not met:
                _check_scores(scores, y)
            loss = F.cross_entropy(scores, y, label_smoothing=settings.label_smoothing)
            value = float(loss.detach())
            if not math.isfinite(value):
                groups = optimizer.param_groups
                if isinstance(optimizer, Indirect):
                    groups = optimizer.scheduled
                _refuse_loss(value, x, step, _rate(groups))
            met.append((value, int((scores.detach().argmax(1) == y).sum())))
            loss.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)
    if not met:
        raise UsageError(
            f"a step of {type(optimizer).__name__}",
            rule="it never called the closure that computes loss and gradients",
            remedy="call it at least once in `step`",
        )
    return met[0]


def _check_scores(scores: object, y: Tensor) -> None:
    least = int(y.max()) + 1
    if isinstance(scores, Tensor) and scores.ndim == 2 and scores.shape[1] >= least:
        return
    found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise UsageError(
        f"scores of {found}",
        rule=f"they must be a tensor of shape ({len(y)}, classes), at least {least} "
        "classes",
        where="output of the module in training",
        remedy="give the last layer as many outputs as there are classes",
    )


def _refuse_loss(loss: float, x: Tensor, step: int, rate: float) -> None:
    where = f"step {step}, learning rate {rate:g}"
    if not torch.isfinite(x).all():
        raise DataError(
            f"a loss of {loss}",
            rule="inputs of its batch are infinite or NaN",
            where=where,
            remedy="clean the data set",
        )
    raise UsageError(
        f"a loss of {loss}",
        rule="training cannot go on from a loss that is not finite",
        where=where,
        remedy="lower the learning rates, or warm up with `warmup_frac`",
    )


def batches_of(rows: Tensor, batch_size: int) -> list[Tensor]:
    """Return the rows in batches; a single one that is left joins the last batch.

    Batch normalisation cannot train on one example.
    """
    batches = list(torch.split(rows, batch_size))
    if len(batches) > 1 and batch_size > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _optimizer(
    parameters: Iterable[nn.Parameter], settings: Settings
) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        parameters,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _rate(groups: list[dict[str, Any]]) -> float:
    return float(groups[0].get("lr", math.nan))


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(before)
