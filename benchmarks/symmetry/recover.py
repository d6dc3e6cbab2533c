"""Whether the right scheme is found.

    python -m benchmarks.symmetry.recover turned 300 0

The control is a random partition: the orbits of the scheme that is true (of C4 where
none is), as many of the same sizes, with weights put into them at random. It has the
same number of values and no symmetry.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.symmetry.tasks import TASKS, data_of
from trimtab.symmetry.evidence.laplace import evidence_fit
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.network import Symmetric, retie, tied
from trimtab.symmetry.schemes import Scheme

__all__ = ["main", "scattered"]


def scattered(network: Symmetric, scheme: Scheme, *, seed: int) -> Symmetric:
    """Return a network with orbits of the same sizes and random members."""
    made = retie(network, scheme, seed=seed)
    drawn = torch.Generator().manual_seed(seed)
    for _, each in tied(made):
        each.orbit = each.orbit[torch.randperm(len(each.orbit), generator=drawn)]
    return made


def main() -> None:
    """Do the job of the command line; print the result."""
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    task = TASKS[name]
    data = data_of(name, count, seed)
    family = task.family()
    network = task.network(family, task.classes)
    search = Search()
    start = time.process_time()
    posterior = fit(network, data, seed=seed, search=search)
    spent = time.process_time() - start
    rows = posterior.table()
    chosen = posterior.best
    control = family[task.truth if task.truth != "none" else family.schemes[-1].name]
    made = scattered(network, control, seed=seed)
    rows_of_all = count * (task.classes - 1)
    block = (
        None
        if rows_of_all <= search.most_rows
        else max(1, search.block_rows * count // rows_of_all)
    )
    found, _ = evidence_fit(made, data, search.recipe, seed=seed, block=block)
    with torch.no_grad():
        p = posterior.predict(data.test[0])
    result: dict[str, Any] = {
        "truth": task.truth,
        "chosen": chosen.scheme.name,
        "schemes": rows,
        "findings": posterior.verdict(),
        "random_partition": {"of": control.name, "log_evidence_nats": found.value},
        "accuracy": float((p.argmax(1) == data.test[1]).double().mean()),
        "cpu_s": spent,
    }
    print(f"  {chosen.scheme.name}, {spent:.0f} s", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
