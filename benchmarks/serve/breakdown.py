"""Where the time of the recommendation networks goes, by kind of operator.

    python -m benchmarks.serve.breakdown        # about a minute

Presets `small`, Zipf ids, one thread, thread CPU time, node by node. After the figure
of DeepRecSys's authors: RMC1 and RMC2 read rows, RMC3, Wide & Deep and NCF multiply,
DIEN recurs. `tests/unit/zoo/test_recommend.py` checks the same by counts.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import torch
import typer

from trimtab.cost.latency import Roofline
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.operators import OPERATORS
from trimtab.graph.types import Node, Ref
from trimtab.hardware.load import machine
from trimtab.hardware.measure import profile
from trimtab.zoo.preset import sizes
from trimtab.zoo.queries import Queries
from trimtab.zoo.recommend import build
from trimtab.zoo.registry import networks

SHOWN = ("embedding", "matmul", "recurrent")


def kind(node: Node) -> str:
    """Return the class of an operator; AUGRU's interpolation belongs to its cell."""
    if node.op == "aten.lerp.Tensor":
        return "recurrent"
    return OPERATORS[node.op].family.value


def main(
    batch: Annotated[int, typer.Option(min=1, help="Items of a call.")] = 64,
    alpha: Annotated[float, typer.Option(help="Of the ids; 0 is uniform.")] = 1.0,
) -> None:
    """Print time an item and shares, measured and predicted for this machine."""
    host = machine("this")
    print(f"batch {batch}, alpha {alpha}, {host.title}; measured / predicted, %")
    print(f"{'':6} {'us an item':>10}", *(f"{each:>12}" for each in (*SHOWN, "other")))
    for name in (entry.name for entry in networks() if entry.presets):
        numbers = sizes(name, "small")
        module = build(numbers).eval()
        drawn = Queries(numbers.inputs, seed=0, alpha=alpha).draw(batch)
        inputs = [torch.from_numpy(each) for each in drawn]
        graph = capture(module, tuple(inputs), name=name)
        found = profile(
            Executor(graph, weights_of(module, graph)),
            {Ref(i.name): x for i, x in zip(graph.inputs, inputs, strict=True)},
        )
        estimate = Roofline().estimate(graph, host)
        measured: Counter[str] = Counter()
        predicted: Counter[str] = Counter()
        for node, each in zip(graph.nodes, estimate.nodes, strict=True):
            key = kind(node) if kind(node) in SHOWN else "other"
            measured[key] += found.nodes_s[node.name]  # type: ignore[assignment]
            predicted[key] += each.estimate.latency_s  # type: ignore[assignment]
        shares = (
            f"{100 * measured[key] / measured.total():.0f} / "
            f"{100 * predicted[key] / predicted.total():.0f}"
            for key in (*SHOWN, "other")
        )
        item_us = 1e6 * found.latency_s / batch
        print(f"{name:6} {item_us:10.1f}", *(f"{each:>12}" for each in shares))


if __name__ == "__main__":
    typer.run(main)
