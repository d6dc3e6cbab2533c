"""The optimizer's networks against the ones it was given, trained alike.

    python -m benchmarks.design.headline search resnet
    python -m benchmarks.design.headline train resnet both 3
    python -m benchmarks.design.headline latency resnet

For each base: what the optimizer makes of it by stages, by kernels and by both, within
half of its parameters and all of its multiply-adds; and controls, random edits of the
same kinds that keep the same limits and spend at least four fifths of the
multiply-adds, others for each seed. All are trained alike: of each seed the same images
in the same order for the same number of epochs, initial weights from the same seed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.design.bases import BASES, example_inputs
from benchmarks.jobs import Job, Store
from trimtab.design.analysis import analysis_of
from trimtab.design.blocks import blocks_of
from trimtab.design.edits import Remove, Repeat, Replace, edits_from_json, edits_to_json
from trimtab.design.kernel_level import alternatives
from trimtab.design.search import Level, Problem, optimize, replay
from trimtab.design.values import Values, limits
from trimtab.errors import BudgetInfeasibleError, TrimtabError
from trimtab.hardware.load import machine

__all__ = ["CONTROLS", "LEVELS", "SEEDS", "SETTINGS", "TRAINED", "digest", "jobs"]

HERE = Path(__file__).parent
LEVELS: tuple[Level, ...] = ("stage", "kernel", "both")
CONTROLS = ("random both",)
TRAINED = ("original", *LEVELS, *CONTROLS)
SEEDS = 5  # a run takes two minutes or more
LIMITS = {"parameters": "0.5x", "multiply_adds": "1x"}
IMAGES = 20_000  # of a run, others for each seed
SETTINGS: dict[str, Any] = {
    "epochs": 5,
    "batch_size": 128,
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "warmup_frac": 0.1,
    "threads": 1,
}
_LEAST = 0.8  # of the multiply-adds, that a control spends
_TRIES = 3000

Edits = tuple[Remove | Repeat | Replace, ...]


def _search(base: str) -> dict[str, Any]:
    """Return the optimizer's designs and the controls."""
    torch.manual_seed(0)
    model = BASES[base]().eval()
    target = machine("this")
    designs: dict[str, Any] = {}
    for level in LEVELS:
        start = time.process_time()
        problem = Problem(
            model=model,
            inputs=example_inputs(),
            machine=target,
            limits=LIMITS,
            level=level,
        )
        try:
            found, robust = optimize(problem), True
        except BudgetInfeasibleError:
            found, robust = optimize(replace(problem, robust=False)), False
        designs[level] = {
            "rounds": [edits_to_json(each) for each in found.edits],
            **_costs(found.after),
            "robust": robust,
            "judged": found.judged,
            "cpu_s": time.process_time() - start,
        }
        before = found.before
    designs["original"] = {"rounds": [], **_costs(before)}
    for control in CONTROLS:
        drawn = []
        for seed in range(SEEDS):
            rounds, costs = _random(model, before, seed, both=control.endswith("both"))
            drawn.append({"rounds": [edits_to_json(each) for each in rounds], **costs})
        designs[control] = drawn
    return {"designs": designs}


def _costs(values: Values) -> dict[str, float]:
    return {"score": values.score, **values.as_dict()}


def _random(
    model: nn.Module, before: Values, seed: int, *, both: bool
) -> tuple[list[Edits], dict[str, float]]:
    """Return random edits within the limits, and what the network with them costs."""
    generator = random.Random(seed)
    _, graph = analysis_of(model, example_inputs())
    groups = blocks_of(model, graph)
    budget = limits(before, LIMITS)
    assert budget.parameters is not None
    assert budget.multiply_adds is not None
    for _ in range(_TRIES):
        edits: list[Remove | Repeat | Replace] = []
        for group in groups:
            have = len(group.blocks)
            step = max(3, have)
            count = generator.randint(max(0, have - step), have + step)
            edits += [Remove(modules=each.paths) for each in group.blocks[count:]]
            if count > have:
                last = group.blocks[-1]
                edits.append(Repeat(modules=last.paths, times=count - have))
        gone = {path for each in edits if isinstance(each, Remove)
                for path in each.modules}  # fmt: skip
        kernels = list(_random_kernels(model, generator, gone)) if both else []
        # First the kernels, so that what is repeated has them.
        rounds = [each for each in (tuple(kernels), tuple(edits)) if each]
        made = _made(model, rounds)
        if made is None:
            continue
        parameters = sum(each.numel() for each in made.parameters())
        if not 0.2 * budget.parameters <= parameters <= 1.05 * budget.parameters:
            continue
        analysis, _ = analysis_of(made, example_inputs())
        adds = analysis.multiply_adds
        if (
            analysis.parameters <= budget.parameters
            and _LEAST * budget.multiply_adds <= adds <= budget.multiply_adds
        ):
            return rounds, {
                "parameters": analysis.parameters,
                "multiply_adds": adds,
            }
    raise SystemExit(f"no random edits within the limits in {_TRIES} tries")


def _random_kernels(
    model: nn.Module, generator: random.Random, gone: set[str]
) -> Iterator[Replace]:
    """Yield replacements of about half of the convolutions but the first."""
    convolutions = [
        (path, each) for path, each in model.named_modules()
        if isinstance(each, nn.Conv2d)
    ]  # fmt: skip
    for path, each in convolutions[1:]:
        if any(path == one or path.startswith(f"{one}.") for one in gone):
            continue
        some = list(alternatives(path, each))
        if some and generator.random() < 0.5:
            yield generator.choice(some)


def _made(model: nn.Module, rounds: Sequence[Edits]) -> nn.Module | None:
    try:
        return replay(model, rounds)
    except TrimtabError:
        return None


def _design(base: str, name: str, seed: int) -> list[Edits]:
    """Return the rounds of edits of a stored design."""
    stored = Store(HERE / "samples").get(f"search/{base}")
    if stored is None or "designs" not in stored:
        raise SystemExit(f"search {base} comes first")
    design = stored["designs"][name]
    if isinstance(design, list):
        design = design[seed]
    return [edits_from_json(each) for each in design["rounds"]]


def _train(base: str, name: str, seed: int) -> dict[str, Any]:
    """Return accuracy and time of a design with one seed."""
    from benchmarks.design.data import cifar10
    from trimtab.training.loop import fit
    from trimtab.training.settings import Settings

    every = cifar10()
    rows = torch.randperm(
        len(every.train[0]), generator=torch.Generator().manual_seed(seed)
    )[:IMAGES]
    dataset = replace(every, train=(every.train[0][rows], every.train[1][rows]))
    rounds = _design(base, name, seed)
    torch.manual_seed(seed)
    model = replay(BASES[base](), rounds, seed=seed)
    start = time.process_time()
    history = fit(model.train(), dataset, Settings(seed=seed, **SETTINGS))
    found: dict[str, Any] = {
        "settings": SETTINGS,
        "images": IMAGES,
        "design": digest(base, name, seed),
        "accuracy": [each.test_accuracy_frac for each in history.epochs],
        "train_loss": [each.train_loss for each in history.epochs],
        "cpu_s": time.process_time() - start,
    }
    print(f"  {found['accuracy'][-1]:.4f}, {found['cpu_s']:.0f} s", file=sys.stderr)
    return found


def digest(base: str, name: str, seed: int) -> str:
    """Return what tells the edits of a design from others."""
    rounds = [edits_to_json(each) for each in _design(base, name, seed)]
    return hashlib.sha256(json.dumps(rounds).encode()).hexdigest()[:16]


def _latency(base: str) -> dict[str, Any]:
    """Return times of a call at batch 1, PyTorch's and compiled, in turns."""
    import trimtab

    names = ("original", *LEVELS)
    calls: dict[tuple[str, str], tuple[Callable[..., Any], torch.Tensor]] = {}
    for name in names:
        torch.manual_seed(0)
        model = replay(BASES[base](), _design(base, name, 0)).eval()
        image = torch.rand(1, 3, 32, 32)
        fast = trimtab.compile(model, (image,), threads=1)
        calls[name, "pytorch"] = (model, image)
        calls[name, "compiled"] = (fast, image)
    times: dict[tuple[str, str], list[float]] = {each: [] for each in calls}
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(15):
            for key, (call, image) in calls.items():
                for _ in range(3):
                    call(image)
                number = 30
                start = time.thread_time()
                for _ in range(number):
                    call(image)
                times[key].append((time.thread_time() - start) / number)
    return {
        "latency_s": {
            name: {
                engine: statistics.median(times[name, engine])
                for engine in ("pytorch", "compiled")
            }
            for name in names
        }
    }


def jobs() -> list[Job]:
    """Return the jobs of all bases, the searches first."""
    module = "benchmarks.design.headline"
    return [
        *(
            Job(key=f"search/{base}", module=module, arguments=("search", base))
            for base in BASES
        ),
        *(
            Job(key=f"latency/{base}", module=module, arguments=("latency", base))
            for base in BASES
        ),
        *(
            Job(
                key=f"train/{base}/{name.replace(' ', '-')}/{seed}",
                module=module,
                arguments=("train", base, name, str(seed)),
                cap_s=3600.0,
            )
            for seed, base, name in itertools.product(range(SEEDS), BASES, TRAINED)
        ),
    ]


def main() -> None:
    """Do the job of the command line; print the result."""
    what, base, *rest = sys.argv[1:]
    if what == "search":
        found = _search(base)
    elif what == "latency":
        found = _latency(base)
    else:
        found = _train(base, rest[0], int(rest[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
