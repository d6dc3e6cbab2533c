"""Learned invariance against none, against augmentation, and against the oracle.

python -m benchmarks.symmetry.compare rivals mnist turned 300 0
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
from torch.nn import functional as F

from benchmarks.jobs import Store
from benchmarks.symmetry.peers import (
    STEPS,
    Augerino,
    Augment,
    augmented_by,
    equal_values,
    free_cnn,
    mlp,
    trained,
)
from benchmarks.symmetry.tasks import (
    SAMPLES,
    TASKS,
    data_of,
    images,
    key_of,
    transformed_like_lila,
)
from trimtab.symmetry.backbone import group_cnn
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.metrics import quality
from trimtab.symmetry.posterior import Posterior
from trimtab.symmetry.schemes import subgroups
from trimtab.training.data import DIGITS_MEAN, DIGITS_STD, Dataset

__all__ = ["main"]

STRENGTHS = (0.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


def _judged(predict: Callable[[Tensor], Tensor], data: Dataset) -> dict[str, float]:
    with torch.no_grad():
        return asdict(quality(predict(data.test[0]), data.test[1]))


def _softmax(net: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: net(x).softmax(1)


def _rivals(source: str, name: str, count: int, seed: int) -> Any:
    """Return the quality of networks that learn no invariance.

    Convolutions that are told the group, by augmentation, have the seconds of the whole
    fit; a dense network that is, and Augerino, have three times the steps of others.
    """
    fitted = Store(SAMPLES).get(key_of("recover", source, name, count, seed))
    if fitted is None or "failed" in fitted:
        raise SystemExit("the fit whose seconds augmentation is given is not stored")
    task = TASKS[name]
    data = data_of(name, count, seed, source=source)
    family = task.family()
    truth = family[task.truth]
    few = equal_values(family, truth, task.classes)
    makes: dict[str, Callable[[], torch.nn.Module]] = {
        "mlp": lambda: mlp(data, seed),
        "cnn": lambda: free_cnn(family, data, seed),
        "cnn, equal values": lambda: free_cnn(family, data, seed, few),
    }
    found: dict[str, Any] = {}
    times: dict[str, float] = {}

    def put(
        method: str,
        of: str,
        augment: Augment | None = None,
        seconds: float | None = None,
        steps: int = STEPS,
    ) -> None:
        start = time.process_time()
        net = trained(
            makes[of], data, steps=steps, seed=seed, augment=augment, seconds=seconds
        )
        times[method] = time.process_time() - start
        found[method] = _judged(_softmax(net), data)
        print(f"  {method}: {found[method]['accuracy_frac']:.3f}", file=sys.stderr)

    for method in makes:
        put(method, method)
    if "rot180" in {family.group.elements[each] for each in truth.elements}:
        makes["augerino"] = lambda: Augerino(free_cnn(family, data, seed), seed)
        put("augerino", "augerino", steps=3 * STEPS)
    if len(truth) > 1:
        told = augmented_by(family, truth)
        for method in ("cnn", "cnn, equal values"):
            put(f"{method}, augmented", method, told, seconds=fitted["cpu_s"])
        put("mlp, augmented", "mlp", told, steps=3 * STEPS)
    return {"quality": found, "cpu_s": times, "equal_values_channels": few}


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
    """Return quality on Fashion-MNIST moved as LILA's protocol does, then halved."""
    train, test = images("fashion", size=28)
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train[0]), generator=drawn)[:count]
    x = F.avg_pool2d(transformed_like_lila(train[0], kind, train=True)[rows], 2)
    xt = F.avg_pool2d(transformed_like_lila(test[0], kind, train=False), 2)
    data = Dataset(
        name=f"fashion, {kind}",
        train=((x - DIGITS_MEAN) / DIGITS_STD, train[1][rows]),
        test=((xt - DIGITS_MEAN) / DIGITS_STD, test[1]),
        classes=10,
    )
    family = subgroups("D4")
    net = group_cnn(family, (1, 14, 14), 10)
    start = time.process_time()
    posterior = fit(net, data, seed=seed, search=Search(restarts=1))
    return {
        "cpu_s": time.process_time() - start,
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
    x = data.test[0][:256]

    def averaged() -> Tensor:
        moved = [torch.rot90(x, each, (2, 3)) for each in range(4)]
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
    if what == "rivals":
        found = _rivals(rest[0], rest[1], int(rest[2]), int(rest[3]))
    elif what == "unseen":
        found = _unseen(int(rest[0]), int(rest[1]))
    elif what == "lila":
        found = _lila(rest[0], int(rest[1]), int(rest[2]))
    else:
        found = _cost()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
