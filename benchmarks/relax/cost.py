"""Time of a step and memory, against SGD.

python -m benchmarks.relax.cost
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from trimtab.relax.relaxed import Relaxed

__all__ = ["MODES", "SIZES", "main"]

SIZES: Final = (100_000, 526_000, 1_000_000, 10_000_000, 100_000_000)
_TENSORS: Final = 16
_ROUNDS: Final = 20  # gradients of a round
_MOST_TOGETHER: Final = 10_000_000
_TIMED: Final = 200  # steps of the smaller ones


def _sgd(groups: Any) -> torch.optim.SGD:
    return torch.optim.SGD(groups, lr=1e-3, momentum=0.9, nesterov=True)


def _plain(groups: Any) -> torch.optim.SGD:
    return torch.optim.SGD(groups, lr=1.0)


MODES: Final[dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]] = {
    "sgd": _sgd,
    "local-entropy": lambda p: Relaxed(p, inner=_sgd, outer=_plain, scope=0.1),
    "local-entropy with noise": lambda p: Relaxed(
        p, inner=_sgd, outer=_plain, scope=0.1, temperature=1e-8
    ),
    "hopf-lax": lambda p: Relaxed(
        p, relaxation="hopf-lax", inner=_sgd, outer=_plain, scope=0.1
    ),
    "hopf-lax-fixed-point": lambda p: Relaxed(
        p, relaxation="hopf-lax-fixed-point", outer=_sgd, scope=100.0
    ),
    "heat": lambda p: Relaxed(
        p, relaxation="heat", outer=_sgd, scope=1.0, temperature=1e-6
    ),
}


def _made(size: int) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.randn(size // _TENSORS)) for _ in range(_TENSORS)]
    for each in made:
        each.grad = 1e-3 * torch.randn_like(each)
    return made


def _bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return bytes of all tensors in the state, of inner and outer optimizers too."""
    state = optimizer.state_dict()["state"]
    return sum(
        each.numel() * each.element_size()
        for number in state.values()
        for key, each in number.items()
        if isinstance(each, torch.Tensor) and key != "point"  # the parameters
    )


def _measured(size: int) -> dict[str, Any]:
    """Return seconds of CPU of a step, rounds by turns, and bytes of state."""
    found: dict[str, Any] = {}
    # All beside each other where memory allows.
    together = [list(MODES)] if size <= _MOST_TOGETHER else [[name] for name in MODES]
    for names in together:
        found |= _by_turns(names, size)
    return found


def _by_turns(names: list[str], size: int) -> dict[str, Any]:
    count = _TIMED if size <= 1_000_000 else 3 * _ROUNDS
    made = {name: _made(size) for name in names}
    opts = {name: MODES[name](made[name]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(2 + count // _ROUNDS):
        for name, opt in opts.items():
            begin = time.thread_time()
            for _ in range(_ROUNDS):
                opt.step()
            if turn >= 2:
                times[name].append((time.thread_time() - begin) / _ROUNDS)
    weights = size // _TENSORS * _TENSORS * 4
    return {
        name: {"step_s": times[name], "state_copies": _bytes(opt) / weights}
        for name, opt in opts.items()
    }


def main() -> None:
    """Measure; print the result."""
    torch.set_num_threads(1)
    found = {}
    for size in SIZES:
        found[str(size)] = _measured(size)
        print(f"  {size} parameters", file=sys.stderr)
    print(json.dumps({"sizes": found, "tensors": _TENSORS}))


if __name__ == "__main__":
    main()
