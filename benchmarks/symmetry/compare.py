"""Learned invariance against none, against augmentation, and against the oracle.

python -m benchmarks.symmetry.compare task "turned" 300 0 mnist
python -m benchmarks.symmetry.compare unseen 300 0
python -m benchmarks.symmetry.compare lila "turned 180" 312 0
python -m benchmarks.symmetry.compare cost
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.symmetry.peers import (
    Augerino,
    augmented_by,
    equal_values,
    free_cnn,
    mlp,
    trained,
)
from benchmarks.symmetry.tasks import (
    TASKS,
    data_of,
    images,
    transformed_like_lila,
)
from trimtab.symmetry.backbone import group_cnn
from trimtab.symmetry.evidence.laplace import evidence_fit
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.metrics import quality
from trimtab.symmetry.network import retie, transformed
from trimtab.symmetry.posterior import Posterior
from trimtab.symmetry.schemes import subgroups
from trimtab.symmetry.train import Recipe
from trimtab.training.data import DIGITS_MEAN, DIGITS_STD, Dataset

__all__ = ["main"]

STRENGTHS = (0.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def _judged(predict: Callable[[Tensor], Tensor], data: Dataset) -> dict[str, float]:
    with torch.no_grad():
        return asdict(quality(predict(data.test[0]), data.test[1]))


def _softmax(net: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x).softmax(1)


def _task(name: str, count: int, seed: int, source: str) -> dict[str, Any]:
    """Return every method's quality on one task."""
    task = TASKS[name]
    data = data_of(name, count, seed, source=source)
    family = task.family()
    truth = family[task.truth]
    recipe = Recipe()
    found: dict[str, Any] = {}
    times: dict[str, float] = {}

    def put(method: str, done: Callable[[], Callable[[Tensor], Tensor]]) -> None:
        start = time.process_time()
        predict = done()
        times[method] = time.process_time() - start
        found[method] = _judged(predict, data)
        print(f"  {method}: {found[method]['accuracy_frac']:.3f}", file=sys.stderr)

    posterior: list[Posterior] = []

    def learned() -> Callable[[Tensor], Tensor]:
        posterior.append(fit(task.network(family, task.classes), data, seed=seed))
        return posterior[0].predict

    def oracle() -> Callable[[Tensor], Tensor]:
        made = retie(task.network(family, task.classes), truth, seed=seed)
        evidence_fit(made, data, recipe, seed=seed, block=50)
        return _softmax(made.eval())

    put("learned", learned)
    put("oracle", oracle)
    put(
        "mlp",
        lambda: _softmax(
            trained(lambda: mlp(data, seed), data, steps=recipe.steps, seed=seed)
        ),
    )
    put(
        "cnn",
        lambda: _softmax(
            trained(
                lambda: free_cnn(family, data, seed),
                data,
                steps=recipe.steps,
                seed=seed,
            )
        ),
    )
    channels = equal_values(family, truth, task.classes)
    put(
        "cnn, equal values",
        lambda: _softmax(
            trained(
                lambda: free_cnn(family, data, seed, channels),
                data,
                steps=recipe.steps,
                seed=seed,
            )
        ),
    )
    # Told the group, and given as many steps as all schemes together had.
    together = round(times["learned"] / max(times["cnn"], 1e-9) * recipe.steps * 2)
    augment = augmented_by(family, truth if len(truth) > 1 else family["D4"])
    put(
        "cnn, augmented",
        lambda: _softmax(
            trained(
                lambda: free_cnn(family, data, seed),
                data,
                steps=min(together, 20_000),
                seed=seed,
                augment=augment,
            )
        ),
    )
    put(
        "cnn, equal values, augmented",
        lambda: _softmax(
            trained(
                lambda: free_cnn(family, data, seed, channels),
                data,
                steps=min(together, 20_000),
                seed=seed,
                augment=augment,
            )
        ),
    )
    put(
        "mlp, augmented",
        lambda: _softmax(
            trained(
                lambda: mlp(data, seed),
                data,
                steps=min(together, 20_000),
                seed=seed,
                augment=augment,
            )
        ),
    )
    put(
        "augerino",
        lambda: _softmax(
            trained(
                lambda: Augerino(free_cnn(family, data, seed), seed),
                data,
                steps=recipe.steps * 2,
                seed=seed,
            )
        ),
    )
    return {
        "truth": truth.name,
        "chosen": posterior[0].best.scheme.name,
        "quality": found,
        "cpu_s": times,
    }  # fmt: skip


def _unseen(count: int, seed: int) -> dict[str, Any]:
    """Return what a prior for invariance gives where nothing asks for it."""
    upright = data_of("upright", count, seed)
    turned = data_of("upright", count, seed, tested="turned")
    family = subgroups("D4")
    net = group_cnn(family, (1, 14, 14), 10)
    posterior = fit(net, upright, seed=seed, search=Search(halving=False, restarts=1))
    found = {}
    for strength in STRENGTHS:
        prior = family.with_prior("invariance", strength)
        other = Posterior(family=prior, judged=posterior.judged, way=posterior.way)
        found[str(strength)] = {
            "chosen": other.best.scheme.name,
            "upright": _judged(other.predict, upright),
            "turned": _judged(other.predict, turned),
        }
    return {"strengths": found, "schemes": posterior.table()}


def _lila(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Return quality on Fashion-MNIST moved as LILA's protocol does."""
    train, test = images("fashion", size=28)
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train[0]), generator=drawn)[:count]
    x = transformed_like_lila(train[0], kind, train=True)[rows]
    xt = transformed_like_lila(test[0], kind, train=False)
    data = Dataset(
        name=f"fashion, {kind}",
        train=((x - DIGITS_MEAN) / DIGITS_STD, train[1][rows]),
        test=((xt - DIGITS_MEAN) / DIGITS_STD, test[1]),
        classes=10,
    )
    family = subgroups("D4")
    net = group_cnn(family, (1, 28, 28), 10)
    search = Search(recipe=Recipe(batch_size=50 if count < 5000 else 100))
    posterior = fit(net, data, seed=seed, search=search)
    return {
        "chosen": posterior.best.scheme.name,
        "quality": _judged(posterior.predict, data),
        "schemes": posterior.table(),
    }


def _cost() -> dict[str, Any]:
    """Return seconds of a fit, and of the plain network beside orbit averaging."""
    torch.set_num_threads(2)
    data = data_of("turned", 1000, 0)
    family = subgroups("D4")
    start = time.perf_counter()
    posterior = fit(group_cnn(family, (1, 14, 14), 10), data, seed=0)
    seconds = time.perf_counter() - start
    torch.set_num_threads(1)
    plain = posterior.collapse(data.test[0][:50])
    scheme = family["C4"]
    x = data.test[0][:256]
    axes = posterior.best.members[0].network.inputs
    inverse = sorted(scheme.elements)

    def averaged() -> Tensor:
        moved = [transformed(family, each, x, axes) for each in inverse]
        return torch.stack([plain(each) for each in moved]).mean(0)

    times: dict[str, list[float]] = {"plain": [], "averaged": []}
    with torch.inference_mode():
        for _ in range(30):
            for name, call in (("plain", lambda: plain(x)), ("averaged", averaged)):
                begin = time.thread_time()
                call()
                times[name].append(time.thread_time() - begin)
    return {
        "wall_s": seconds,
        "schemes": len(family.schemes),
        "examples": 1000,
        "chosen": posterior.best.scheme.name,
        "call_s": times,
    }


def main() -> None:
    """Do the job of the command line; print the result."""
    what, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    if what == "task":
        found = _task(rest[0], int(rest[1]), int(rest[2]), rest[3])
    elif what == "unseen":
        found = _unseen(int(rest[0]), int(rest[1]))
    elif what == "lila":
        found = _lila(rest[0], int(rest[1]), int(rest[2]))
    else:
        found = _cost()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
