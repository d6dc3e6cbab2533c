"""Choosing configurations, and judging each choice once.

    python -m benchmarks.relax.compare tune lenet sam
    python -m benchmarks.relax.compare test lenet sam 0
    python -m benchmarks.relax.compare test digits sam all
    python -m benchmarks.relax.compare untuned 0

The test set is not opened before the chosen configurations are committed.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.relax.methods import METHODS, Config, grid, trained
from benchmarks.relax.tasks import TASKS, Split, Task
from trimtab.errors import UsageError
from trimtab.relax.flatness import local_energy, top_eigenvalue

__all__ = ["CHOSEN", "RATES", "chosen", "committed", "judged", "main"]

CHOSEN: Final = Path(__file__).parent / "configurations.json"
"""What was chosen of each task and method; committed ahead of any test."""

RATES: Final = (0.02, 0.05, 0.1, 0.2)
"""That nobody tuned, for labels of which a fifth are wrong."""

_SOME: Final = 500  # examples that flatness is measured on


def _tried(
    task: Task, split: Split, method: str, config: Config, seed: int
) -> nn.Module | None:
    """Return a trained network; None where the training broke down, which is told."""
    try:
        net = trained(task, split, method, config, seed)
    except UsageError as error:  # an unstable fixed point
        print(f"  {method}, seed {seed}: {error}", file=sys.stderr)
        return None
    whole = all(bool(each.isfinite().all()) for each in net.parameters())
    return net if whole else None


@torch.no_grad()
def judged(net: nn.Module | None, x: Tensor, y: Tensor) -> dict[str, float]:
    """Return the error and loss of a network; those of guessing for None."""
    if net is None:
        classes = int(y.max()) + 1
        return {"error_frac": 1.0 - 1.0 / classes, "loss_nats": math.log(classes)}
    scores = torch.cat([net(some) for some in torch.split(x, 1_000)])
    return {
        "error_frac": float((scores.argmax(1) != y).float().mean()),
        "loss_nats": float(F.cross_entropy(scores, y)),
    }


def _tune(task: Task, method: str) -> dict[str, Any]:
    """Return errors of every configuration, on what is held out for that."""
    rows = []
    for config in grid(task, method):
        found = []
        for seed in task.tuning:
            split = task.split(seed)
            net = _tried(task, split, method, config, seed)
            found.append(judged(net, *split.valid))
        mean = {key: sum(each[key] for each in found) / len(found) for key in found[0]}
        rows.append({"config": config, **mean})
        print(f"  {config}: {100 * mean['error_frac']:.2f} %", file=sys.stderr)
    return {"rows": rows}


def chosen(rows: list[dict[str, Any]]) -> tuple[Config, bool]:
    """Return the configuration of the least error, and whether it is an outermost one.

    Ties are decided by the loss. Outermost is the largest or smallest of a number that
    was varied: a wider search might have found better.
    """
    best = min(rows, key=lambda row: (row["error_frac"], row["loss_nats"]))["config"]
    edge = False
    for key, value in best.items():
        values = {row["config"][key] for row in rows}
        edge |= len(values) > 1 and value in (min(values), max(values))
    return best, edge


def committed() -> dict[str, Any]:
    """Return the chosen configurations; end if they are not committed as they are."""
    command = ["git", "log", "-1", "--format=%h", "--", CHOSEN.name]
    last = subprocess.run(
        command, cwd=CHOSEN.parent, capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", CHOSEN.name], cwd=CHOSEN.parent,
        check=False,
    ).returncode  # fmt: skip
    if not last or changed:
        raise SystemExit(f"{CHOSEN.name} is not committed: the test set stays closed")
    found: dict[str, Any] = json.loads(CHOSEN.read_text("utf-8"))
    return {"commit": last, **found}


def _test(task: Task, name: str, method: str, seed: int) -> dict[str, Any]:
    """Return what a method comes to on the test set, and how flat it ends."""
    kept = committed()
    config = kept["chosen"][name][method]
    split = task.split(seed)
    start = time.process_time()
    net = _tried(task, split, method, config, seed)
    spent = time.process_time() - start
    result = {
        "config": config,
        "configurations_commit": kept["commit"],
        "cpu_s": spent,
        "broke_down": net is None,
        "train": judged(net, *(each[:10_000] for each in split.train)),
        "test": judged(net, *split.test),
    }
    if net is None:
        return {**result, "top_eigenvalue": 0.0, "local_energy": 0.0}
    x, y = (each[:_SOME] for each in split.train)
    weights = list(net.parameters())
    drawn = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        return F.cross_entropy(net(x), y)

    @torch.no_grad()
    def error() -> float:
        return float((net(x).argmax(1) != y).float().mean())

    return {
        **result,
        "top_eigenvalue": top_eigenvalue(loss, weights, generator=drawn),
        "local_energy": local_energy(error, weights, generator=drawn),
    }


def _untuned(seed: int) -> dict[str, Any]:
    """Return errors at rates nobody tuned, a fifth of the labels wrong.

    On held-out examples: the test set is for what was tuned. The tether of 0.5 had been
    the best one in an earlier experiment on this very task, at a rate of 0.1.
    """
    task = TASKS["digits, a fifth of labels wrong"]
    split = task.split(seed)
    found: dict[str, Any] = {}
    for rate in RATES:
        configs: dict[str, Config] = {
            "sgd": {"lr": rate},
            "ema": {"lr": rate, "decay": 0.99},
            "lookahead": {"lr": rate, "outer": 0.5, "steps": 5, "gamma": 0.0},
            "local-entropy": {"lr": rate, "gamma": 0.5, "steps": 20},
            "hopf-lax": {"lr": rate, "gamma": 0.5, "steps": 20},
        }
        for method, config in configs.items():
            net = _tried(task, split, method, config, seed)
            found.setdefault(method, {})[str(rate)] = judged(net, *split.valid)
    return {"methods": found}


def main() -> None:
    """Do the job of the command line; print the result."""
    what, *rest = sys.argv[1:]
    torch.set_num_threads(1)
    if what == "untuned":
        print(json.dumps(_untuned(int(rest[0]))))
        return
    name, method = rest[:2]
    if method not in METHODS:
        raise SystemExit(f"no method {method!r}")
    if what == "tune":
        print(json.dumps(_tune(TASKS[name], method)))
    else:
        task = TASKS[name]
        if rest[2] == "all":
            seeds = {
                str(seed): _test(task, name, method, seed) for seed in range(task.seeds)
            }
            print(json.dumps({"seeds": seeds}))
        else:
            print(json.dumps(_test(task, name, method, int(rest[2]))))


if __name__ == "__main__":
    main()
