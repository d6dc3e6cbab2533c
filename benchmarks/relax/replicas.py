"""Three replicas against as many gradients spent otherwise.

    python -m benchmarks.relax.replicas digits 0

Each replica takes as many gradients as a training of the task has; SGD, SWA and local
entropy take three times as many one after the other. The ensemble averages the
predictions of three networks, which cost three times as much to serve, and the soup the
weights of three that began alike.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.relax.compare import CHOSEN, committed, judged
from benchmarks.relax.methods import Config, Run, trained
from benchmarks.relax.tasks import TASKS, Task
from trimtab.relax.exchange import Together
from trimtab.relax.norms import reestimate
from trimtab.relax.parle import Parle, consensus

__all__ = ["REPLICAS", "main", "parle"]

REPLICAS: Final = 3
_COUPLING: Final = 0.1


def parle(
    task: Task, split: Any, config: Config, seed: int, replicas: int = REPLICAS
) -> tuple[nn.Module, dict[str, float]]:
    """Return the consensus of replicas, and what it took.

    Args:
        task: what is learned; each replica gets its gradients.
        split: its examples.
        config: of local entropy.
        seed: of weights; replicas draw other batches.
        replicas: how many.
    """
    together = Together(replicas)
    runs = [Run(task, split, seed, task.gradients) for _ in range(replicas)]
    opts = []
    for number, run in enumerate(runs):
        run.drawn = torch.Generator().manual_seed(seed + 10_000 * (number + 1))
        run.module.train()
        opts.append(
            Parle(
                run.parameters,
                exchange=together.member(),
                coupling=_COUPLING,
                scope=config["gamma"],
                steps=int(config["steps"]),
                inner=lambda groups, run=run: run.sgd(config["lr"]),
                outer=lambda groups: torch.optim.SGD(groups, lr=1.0),
            )
        )
    while runs[0].left:
        for run, opt in zip(runs, opts, strict=True):
            if opt.position == 0:
                for group in opt.outer.param_groups:
                    group["lr"] = run.cosine()
            run.gradient()
            opt.step()
    for opt in opts:
        opt.settle()
    weights = consensus(opts)
    module = runs[0].module
    with torch.no_grad():
        for each, value in zip(module.parameters(), weights, strict=True):
            each.copy_(value)
    reestimate(module, [runs[0].batch()[0] for _ in range(50)])
    return module.eval(), {
        "communicated_bytes": float(opts[0].exchange.communicated_bytes),
        "rounds": float(opts[0].rounds),
        "weights": float(sum(each.numel() for each in weights)),
    }


class _Ensemble(nn.Module):
    """The mean of probabilities, as scores."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.stack([F.softmax(net(x), 1) for net in self.nets]).mean(0)
        return found.clamp(min=1e-12).log()


def _soup(nets: list[nn.Module], run: Run) -> nn.Module:
    module = nets[0]
    with torch.no_grad():
        for together in zip(*(net.parameters() for net in nets), strict=True):
            together[0].copy_(torch.stack(list(together)).mean(0))
    reestimate(module, [run.batch()[0] for _ in range(50)])
    return module.eval()


def main() -> None:
    """Do the job of the command line; print the result."""
    name, seed = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    task = TASKS[name]
    split = task.split(seed)
    kept = committed()["chosen"][name]
    found = {}
    net, spent = parle(task, split, kept["local-entropy"], seed)
    found["parle"] = judged(net, *split.test)
    for method in ("sgd", "swa", "local-entropy"):
        net = trained(task, split, method, kept[method], seed, times=REPLICAS)
        found[f"{method}, three times the gradients"] = judged(net, *split.test)
    nets = [
        trained(task, split, "sgd", kept["sgd"], seed + 10_000 * (number + 1))
        for number in range(REPLICAS)
    ]
    found["ensemble of three"] = judged(_Ensemble(nets), *split.test)
    alike = []
    for number in range(REPLICAS):
        run = Run(task, split, seed, task.gradients)
        run.drawn = torch.Generator().manual_seed(seed + 10_000 * (number + 1))
        run.module.train()
        optimizer = run.sgd(kept["sgd"]["lr"])
        while run.left:
            for group in optimizer.param_groups:
                group["lr"] = kept["sgd"]["lr"] * run.cosine()
            run.gradient()
            optimizer.step()
        alike.append(run.module)
    batches = Run(task, split, seed, task.gradients)
    found["soup of three"] = judged(_soup(alike, batches), *split.test)
    print(json.dumps({"methods": found, "parle": spent, "from": CHOSEN.name}))


if __name__ == "__main__":
    main()
