"""`make bench-cost`: predicted against measured, the eight networks of the edge study.

Every round calibrates, then predicts and measures each network in a process of its own,
one thread, by the CPU time of the thread. A network's error is the median over rounds
of predicted / measured - 1. Then the speed and memory of the analysis itself.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.results import Row, write
from trimtab import stats

HERE = Path(__file__).parent
NETWORKS = (
    "lenet5",
    "alexnet",
    "vgg16",
    "vgg19",
    "resnet50",
    "resnet50_v2",
    "mobilenet_v1",
    "densenet121",
)
TIE = 0.10


def call(*arguments: str) -> str:
    """Run Python on the arguments with one thread and return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def one_round(index: int) -> dict[str, dict[str, float]]:
    """Calibrate, then return per network what was predicted and measured."""
    call("-m", "trimtab", "machine", "calibrate", "--json")
    samples = {}
    for name in NETWORKS:
        samples[name] = json.loads(call("-m", "benchmarks.cost.measure_one", name))
        error = samples[name]["predicted_s"] / samples[name]["measured_s"] - 1
        print(
            f"round {index + 1}: {name:<14} {100 * error:+6.1f} %",
            file=sys.stderr,
            flush=True,
        )
    return samples


def wrong_pairs(predicted: dict[str, float], measured: dict[str, float]) -> list[str]:
    """Return the pairs whose order is predicted wrong; near-equal ones are ties."""
    wrong = []
    for a, b in combinations(NETWORKS, 2):
        if abs(measured[a] - measured[b]) <= TIE * min(measured[a], measured[b]):
            continue
        if (predicted[a] < predicted[b]) != (measured[a] < measured[b]):
            wrong.append(f"{a}/{b}")
    return wrong


def story(name: str, sample: dict[str, float]) -> str:
    """Return what bounds a prediction that misses."""
    limits = sample["by_limit_s"]
    assert isinstance(limits, dict)
    largest = max(limits, key=lambda key: limits[key])
    share = limits[largest] / sample["predicted_s"]
    return f"misses by over 25 %; the prediction is {100 * share:.0f} % {largest}"


def _interval(samples: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by bootstrap."""
    found = stats.bootstrap_interval(samples, np.median, seed=0)
    return found.low, found.high


def accuracy(samples: list[dict[str, dict[str, float]]]) -> list[Row]:
    """Return the rows on predicted against measured."""
    predicted, measured, rows, errors = {}, {}, [], []
    for name in NETWORKS:
        each = [
            sample[name]["predicted_s"] / sample[name]["measured_s"] - 1
            for sample in samples
        ]
        error = statistics.median(each)
        errors.append(abs(error))
        predicted[name] = statistics.median(s[name]["predicted_s"] for s in samples)
        measured[name] = statistics.median(s[name]["measured_s"] for s in samples)
        rows.append(
            Row(
                id=f"cost/error/{name}",
                name=f"{name}: predicted / measured - 1 (measured "
                f"{1e3 * measured[name]:.2f} ms)",
                value=error,
                unit="frac",
                samples=each,
                note=story(name, samples[-1][name]) if abs(error) > 0.25 else "",
            )
        )
    wrong = wrong_pairs(predicted, measured)
    return [
        Row(
            id="cost/error/median",
            name="median absolute error of the predicted total, eight networks, batch "
            "1, one thread",
            value=statistics.median(errors),
            unit="frac",
            op="<=",
            goal=0.25,
            interval=_interval(errors),
            samples=errors,
        ),
        Row(
            id="cost/ranking",
            name="pairs of networks ranked wrong (within 10 % are ties)",
            value=len(wrong),
            unit="",
            op="==",
            goal=0,
            note=", ".join(wrong),
        ),
        *rows,
    ]


ANALYSIS = """
import time, torch
from trimtab.cost.latency import Roofline
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine
from trimtab.zoo.resolve import resolve
found, target = resolve("zoo:resnet50", device="meta"), machine("milan")
start = time.perf_counter()
Roofline().estimate(capture(found.module, found.example_inputs), target)
print(time.perf_counter() - start)
"""
EXPORT = """
import time, torch, torch._dynamo, torch._functorch.aot_autograd
from trimtab.zoo.resolve import resolve
found = resolve("zoo:resnet50", device="meta")
start = time.perf_counter()
torch.export.export(found.module, found.example_inputs, strict=False)
print(time.perf_counter() - start)
"""
IMPORTS = "import torch, torch._dynamo, torch._functorch.aot_autograd"
MEMORY = """
import resource, subprocess, sys
command = [sys.executable, "-m", "trimtab", "inspect", "zoo:resnet50", "--json"]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def speed(count: int) -> list[Row]:
    """Return the rows on the analysis itself, ResNet-50, a process each time."""
    analysis, export, walls, imports = [], [], [], []
    for _ in range(count):
        analysis.append(float(call("-c", ANALYSIS)))
        export.append(float(call("-c", EXPORT)))
        start = time.perf_counter()
        call("-m", "trimtab", "inspect", "zoo:resnet50", "--json")
        walls.append(time.perf_counter() - start)
        start = time.perf_counter()
        call("-c", IMPORTS)
        imports.append(time.perf_counter() - start)
    return [
        Row(
            id="cost/speed/analysis",
            name="capture and estimate ResNet-50, after the imports",
            value=statistics.median(analysis),
            unit="s",
            op="<=",
            goal=1.5,
            interval=_interval(analysis),
            peer="torch.export.export alone",
            peer_value=statistics.median(export),
            samples=analysis,
        ),
        Row(
            id="cost/speed/inspect",
            name="`trimtab inspect zoo:resnet50`, wall, imports included",
            value=statistics.median(walls),
            unit="s",
            op="<=",
            goal=6.0,
            interval=_interval(walls),
            peer="the imports of torch.export alone",
            peer_value=statistics.median(imports),
            samples=walls,
        ),
        Row(
            id="cost/speed/memory",
            name="`trimtab inspect zoo:resnet50`, peak resident memory",
            value=int(call("-c", MEMORY)),
            unit="bytes",
            op="<=",
            goal=1.5e9,
        ),
    ]


def main() -> None:
    """Run the benchmark and store its results.

    Every round is stored when it is done; `--speed` measures the analysis again beside
    the rounds that are stored.
    """
    quick = "--quick" in sys.argv
    count = 1 if quick else 5
    path = HERE / f"samples{'.quick' if quick else ''}.json"
    if "--speed" in sys.argv:
        samples = json.loads(path.read_text("utf-8"))
    else:
        samples = []
        for index in range(count):
            samples.append(one_round(index))
            path.write_text(json.dumps(samples, indent=1) + "\n", "utf-8")
    write(HERE, [*accuracy(samples), *speed(count)], quick=quick)


if __name__ == "__main__":
    main()
