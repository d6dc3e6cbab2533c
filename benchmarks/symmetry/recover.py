"""Whether the right scheme is found, and how good its predictions are.

    python -m benchmarks.symmetry.recover mnist turned 300 0

The control is a random partition: the orbits of the scheme that is true (of the largest
where none is), as many of the same sizes, their members drawn at random among the slots
and places of each pair of channels. It has the same number of values and no symmetry.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.symmetry.tasks import TASKS, data_of
from trimtab.symmetry.evidence.laplace import evidence_fit
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.metrics import auroc, entropy, quality
from trimtab.symmetry.network import Symmetric, retie, tied
from trimtab.symmetry.schemes import Scheme
from trimtab.training.data import Dataset

__all__ = ["main", "scattered"]


def scattered(network: Symmetric, scheme: Scheme, *, seed: int) -> Symmetric:
    """Return a network with orbits of the same sizes and random members."""
    made = retie(network, scheme, seed=seed)
    drawn = torch.Generator().manual_seed(seed)
    for _, each in tied(made):
        places = torch.arange(len(each.orbit)).view(each.shape)
        # The axis of each dimension; rows and columns have one together.
        kinds = [axis.kind for axis in each.axes for _ in axis.sizes]
        order = sorted(range(len(kinds)), key=lambda place: kinds[place] != "channel")
        channels = math.prod(
            size
            for size, kind in zip(each.shape, kinds, strict=True)
            if kind == "channel"
        )
        before = each.orbit.clone()
        for row in places.permute(order).reshape(channels, -1):
            each.orbit[row] = before[row[torch.randperm(len(row), generator=drawn)]]
    return made


def main() -> None:
    """Do the job of the command line; print the result."""
    source, name = sys.argv[1:3]
    count, seed = map(int, sys.argv[3:5])
    torch.set_num_threads(1)
    task = TASKS[name]
    data = data_of(name, count, seed, source=source)
    family = task.family()
    network = task.network(family, task.classes)
    search = Search()
    start = time.process_time()
    posterior = fit(network, data, seed=seed, search=search)
    spent = time.process_time() - start
    chosen = posterior.best
    # At the starts that the true scheme had, as many of them and as long.
    control = family[task.truth if task.truth != "none" else family.schemes[-1].name]
    partitions = []
    for number in range(search.restarts):
        made = scattered(network, control, seed=seed + 1000 * number)
        found, _ = evidence_fit(
            made, data, search.recipe, seed=seed + 1000 * number,
            block=search.block(network, data),
        )  # fmt: skip
        partitions.append(found.value)
    x, y = data.test
    truth = posterior.judged[[each.name for each in family.schemes].index(task.truth)]
    # Of as many starts, each trained whole, as the best schemes had.
    oracles = [] if truth.given_up else [each.network for each in truth.members]
    while len(oracles) < search.restarts:
        start = seed + 1000 * len(oracles)
        made = retie(network, truth.scheme, seed=start)
        evidence_fit(
            made, data, search.recipe, seed=start, block=search.block(network, data)
        )
        oracles.append(made)
    with torch.no_grad():
        judged = {
            "learned": quality(posterior.predict(x), y),
            "learned, last layer drawn": quality(posterior.predict(x, samples=16), y),
            "oracle": quality(
                torch.stack([each.eval()(x).softmax(1) for each in oracles]).mean(0), y
            ),
        }
        result: dict[str, Any] = {
            "truth": task.truth,
            "chosen": chosen.scheme.name,
            "probability": posterior.probability(task.truth),
            "temperature_nats": posterior.temperature,
            "schemes": posterior.table(),
            "findings": [asdict(each) for each in posterior.findings()],
            "random_partition": {
                "of": control.name, "log_evidence_nats": max(partitions),
            },
            "quality": {method: asdict(each) for method, each in judged.items()},
            "entropy_nats": _entropies(posterior.predict, data),
            "cpu_s": spent,
        }  # fmt: skip
    print(f"  {chosen.scheme.name}, {spent:.0f} s", file=sys.stderr)
    print(json.dumps(result))


def _entropies(predict: Callable[[Tensor], Tensor], data: Dataset) -> dict[str, float]:
    """Return how unsure predictions are: of the task's test data, and of garments."""
    found = {"test": entropy(predict(data.test[0]))}
    if data.name.startswith("mnist"):
        other = data_of("upright", 100, 0, source="fashion").test[0]
        x = other if data.test[0].ndim == 4 else other[:, 0]
        found["garments"] = entropy(predict(x))
    means = {name: float(each.mean()) for name, each in found.items()}
    if "garments" in found:
        means["auroc"] = auroc(found["test"], found["garments"])
    return means


if __name__ == "__main__":
    main()
