"""A training check: two networks, the same examples, epochs and seeds, one difference.

A score is no accuracy. Whether one network learns better than another is measured: for
each seed both start from fresh weights, see the same part of the data in the same order
for the same number of epochs, and are tested on the same examples. The difference of
each pair is what is reported, with its confidence interval over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from trimtab.bundle.stage import Data
from trimtab.design.written import read, rebuild
from trimtab.errors import DataError, UsageError
from trimtab.hardware.measure import median_time_s
from trimtab.stats import PairedDifference, paired_difference
from trimtab.training.data import Dataset
from trimtab.training.loop import evaluate, fit
from trimtab.training.settings import Settings
from trimtab.zoo.resolve import resolve

__all__ = ["Check", "Extent", "Maker", "check", "extent", "maker"]

Maker = Callable[[int], nn.Module]
"""Returns a network of its own with weights drawn from a seed."""

_TEST_SHARE = 0.25
# Of the time of a run: what testing may take before fewer examples are tested.
_LEAST_PER_CLASS = 20


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is trained within a time.

    Attributes:
        train: examples of a run.
        test: examples that it is judged by.
        epochs: passes over the examples of a run.
        seconds: that all runs are expected to take.
    """

    train: int
    test: int
    epochs: int
    seconds: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How two networks learn.

    Attributes:
        extent: of each run.
        seeds: of the runs.
        first: share right of the first network after the last epoch, by seed.
        second: the same of the second.
        difference: second minus first, with its interval.
        wall_s: time of the runs of each: an observation, not part of equality.
    """

    extent: Extent
    seeds: tuple[int, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    difference: PairedDifference
    wall_s: tuple[float, float] = field(compare=False)


def maker(spec: str) -> Maker:
    """Return what draws a network anew.

    Args:
        spec: a network as `trimtab.zoo.resolve.resolve` takes it, or the folder of a
            design: the network it came from is drawn, and its edits replayed.

    Raises:
        UsageError: it is a bundle, or another network whose weights are not drawn when
            it is made.
        NetworkNotFoundError: nothing stands under `spec`.
    """
    folder = Path(spec)
    if folder.name == "network.py":
        folder = folder.parent
    if (folder / "edits.json").is_file():
        written = read(folder)
        return lambda seed: rebuild(written, seed=seed)
    if folder.is_dir():
        raise _fixed(spec)
    made = [_drawn(lambda _: resolve(spec).module, seed) for seed in (0, 1)]
    one, two = ([*each.parameters()] for each in made)
    if made[0] is made[1] or (one and all(map(torch.equal, one, two))):
        raise _fixed(spec)
    return lambda seed: _drawn(lambda _: resolve(spec).module, seed)


def _fixed(spec: str) -> UsageError:
    return UsageError(
        f"network {spec!r} for a training check",
        rule="both networks start from fresh weights, and it has fixed ones",
        where="trimtab design check",
        remedy="give a factory that draws them, zoo:NAME, or the folder of a design",
    )


def extent(
    makers: Sequence[Maker],
    dataset: Data,
    settings: Settings,
    *,
    seconds: float,
    seeds: int,
) -> Extent:
    """Return how many examples fit a time; a few steps of each network are timed.

    Args:
        makers: of both networks.
        dataset: to take examples of.
        settings: of a run; its epochs stay.
        seconds: for all runs of both.
        seeds: runs of each.

    Raises:
        DataError: a network does not take the examples.
        UsageError: the time is too short for any training, or no number.
    """
    if not math.isfinite(seconds):
        raise UsageError(
            f"a training check of {seconds} s",
            rule="its time is limited",
            where="--seconds",
            remedy="give 300",
        )
    step_s, test_s = 0.0, 0.0
    for make in makers:
        step, test = _probe(make, dataset, settings)
        step_s, test_s = step_s + step, test_s + test
    each_s = seconds / seeds / settings.epochs  # an epoch of both networks
    have = len(dataset.train[0])
    tested = min(len(dataset.test[0]), max(1, int(each_s * _TEST_SHARE / test_s)))
    trained = min(have, int((each_s - tested * test_s) / step_s))
    classes = int(dataset.train[1].max()) + 1
    least = min(have, max(_LEAST_PER_CLASS * classes, 2 * settings.batch_size))
    if trained < least:
        needed = least * step_s / (1 - _TEST_SHARE) * settings.epochs * seeds
        raise UsageError(
            f"{seeds} pairs of trainings in {seconds:g} s",
            rule=f"they could see {max(trained, 0)} examples, and {least} is the least",
            where="--seconds",
            remedy=f"give {math.ceil(needed)} s, fewer seeds, or fewer epochs",
        )
    taken_s = (trained * step_s + tested * test_s) * settings.epochs * seeds
    return Extent(train=trained, test=tested, epochs=settings.epochs, seconds=taken_s)


def check(
    first: Maker,
    second: Maker,
    dataset: Data,
    settings: Settings,
    *,
    extent: Extent,
    seeds: Sequence[int],
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> Check:
    """Train two networks under the same conditions and return how they differ.

    The global random state of torch is the same afterwards as before.

    Args:
        first: makes one network.
        second: makes the other.
        dataset: what they learn.
        settings: of each training; its seed is replaced.
        extent: of each training, from `extent`.
        seeds: of the pairs, at least two: of weights, examples and their order.
        progress: told the share that is done.

    Raises:
        UsageError: fewer than two seeds, or a training that fails.

    Example:
        >>> from trimtab.training.data import Dataset
        >>> x, y = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
        >>> data = Dataset(name="eye", train=(x, y), test=(x, y), classes=4)
        >>> found = check(
        ...     lambda seed: nn.Linear(4, 4),
        ...     lambda seed: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
        ...     data,
        ...     Settings(epochs=1),
        ...     extent=Extent(train=32, test=32, epochs=1, seconds=1.0),
        ...     seeds=(0, 1),
        ... )
        >>> found.difference.pairs
        2
    """
    if len(seeds) < 2:
        raise UsageError(
            f"a training check with {len(seeds)} seed",
            rule="an interval needs at least two pairs",
            where="--seeds",
            remedy="give 5",
        )
    right: tuple[list[float], list[float]] = ([], [])
    wall_s = [0.0, 0.0]
    total = 2 * len(seeds)
    for number, seed in enumerate(seeds):
        part = _part(dataset, extent, seed)
        for place, make in enumerate((first, second)):
            done = 2 * number + place
            progress(done / total, f"seed {seed}, network {'AB'[place]}")
            history = fit(
                _drawn(make, seed).train(),
                part,
                replace(settings, seed=seed, epochs=extent.epochs),
                progress=lambda now, done=done, seed=seed: progress(  # type: ignore[misc]
                    (done + now.step / now.steps) / total,
                    f"seed {seed}, loss {now.loss:.3f}",
                ),
            )
            right[place].append(history.epochs[-1].test_accuracy_frac)
            wall_s[place] += sum(history.wall_s)
    return Check(
        extent=extent,
        seeds=tuple(seeds),
        first=tuple(right[0]),
        second=tuple(right[1]),
        difference=paired_difference(right[1], right[0]),
        wall_s=(wall_s[0], wall_s[1]),
    )


def _drawn(make: Maker, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(seed)


def _part(dataset: Data, extent: Extent, seed: int) -> Dataset:
    """Return the examples of a seed, and those that all seeds are tested on."""

    def some(
        pair: tuple[Tensor, Tensor], count: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        if count >= len(pair[0]):
            return pair
        drawn = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(pair[0]), generator=drawn)[:count]
        return pair[0][rows], pair[1][rows]

    return Dataset(
        name=dataset.name,
        train=some(dataset.train, extent.train, seed),
        test=some(dataset.test, extent.test, 0),
        classes=int(max(dataset.train[1].max(), dataset.test[1].max())) + 1,
    )


def _probe(make: Maker, dataset: Data, settings: Settings) -> tuple[float, float]:
    """Return seconds per example of a step and of a test."""
    size = min(settings.batch_size, len(dataset.train[0]))
    batch = dataset.train[0][:size], dataset.train[1][:size]
    part = Dataset(
        name=dataset.name,
        train=batch,
        test=batch,
        classes=int(dataset.train[1].max()) + 1,
    )
    network = _drawn(make, 0)
    shape, classes = tuple(batch[0].shape[1:]), int(dataset.train[1].max()) + 1
    try:
        with torch.no_grad():
            scores = network.eval()(batch[0])
    except RuntimeError as error:  # what torch says of shapes that do not fit
        raise DataError(
            f"data {dataset.name!r} with examples of {shape}",
            rule=f"a network does not take them: {str(error).splitlines()[0]}",
            where="trimtab design check",
            remedy="give networks for images of this shape",
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[1] < classes:
        given = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores)
        raise DataError(
            f"data {dataset.name!r} with {classes} classes",
            rule=f"a network gives {given} for {size} examples",
            where="trimtab design check",
            remedy="give networks with a score for each class",
        )
    threads = settings.threads or torch.get_num_threads()

    def timed(call: Callable[[], object]) -> float:
        return median_time_s(call, threads=threads)

    test_s = timed(lambda: evaluate(network, *batch))
    step_s = timed(lambda: fit(network, part, replace(settings, epochs=1))) - test_s
    return max(step_s, test_s) / size, test_s / size
