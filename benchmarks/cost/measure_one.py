"""Predict and measure one network in a process of its own; prints one JSON line."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import sys

from trimtab.cost.latency import Roofline
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.hardware.load import machine
from trimtab.hardware.measure import profile
from trimtab.zoo.registry import network


def main() -> None:
    """Print predicted and measured seconds of the network named on the command line."""
    entry = network(sys.argv[1])
    module, inputs = entry.build().eval(), entry.example_inputs()
    graph = capture(module, inputs, name=entry.name)
    estimate = Roofline().estimate(graph, machine("this"))
    executor = Executor(graph, weights_of(module, graph))
    measured = profile(executor, {Ref(graph.inputs[0].name): inputs[0]}, calls=9)
    by_limit = {str(key): each for key, each in estimate.by_bottleneck().items()}
    print(
        json.dumps(
            {
                "network": entry.name,
                "predicted_s": estimate.latency_s,
                "measured_s": measured.latency_s,
                "interval_s": measured.interval_s,
                "by_limit_s": by_limit,
            }
        )
    )


if __name__ == "__main__":
    main()
