"""What policies would have done on a trace: one network, one trace, one seed.

    python -m benchmarks.partition.policies mobilenet_v1 regimes 0

A Raspberry Pi 4 and a Turin server, values as they are computed, ten requests a second
for twenty minutes. All traces are synthetic. Nothing is timed, so that jobs may run
beside each other.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from trimtab.partition.course import Pace
from trimtab.partition.plan import image_bytes
from trimtab.partition.replay import replay
from trimtab.partition.space import Space
from trimtab.partition.traces import trace_of
from trimtab.pipeline.network import open_graph
from trimtab.pipeline.profiles import profile_of

__all__ = ["NETWORKS", "SEEDS", "SLOW", "TRACES", "main"]

NETWORKS: Final = ("mobilenet_v1", "alexnet", "resnet50", "densenet121")
SLOW: Final = ("4g-walk", "regimes", "slow-fade", "cloud-load", "outages")
TRACES: Final = (*SLOW, "flips")
SEEDS: Final = 3
_POLICIES: Final = (
    "optimum", "static", "edge", "cloud", "compressed", "adaptive", "no-probes",
    "pause-0.6", "pause-6",
)  # fmt: skip


def main() -> None:
    """Do the job of the command line; print the result."""
    name, trace, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    graph = open_graph(f"zoo:{name}", device="meta").graph
    space = Space(
        graph, profile_of("raspberry-pi-4", graph)[0], profile_of("turin", graph)[0]
    )
    found = replay(
        space, trace_of(f"synthetic:{trace}", seed=seed), policies=_POLICIES,
        pace=Pace(seed=seed), compressed_bytes=image_bytes(graph),
    )  # fmt: skip
    policies = {
        each.policy: {
            "mean_s": each.mean_s, "ratio": each.ratio, "switches": each.switches,
            "recovery_s": each.recovery_s, "cut": each.cut,
        }
        for each in found
    }  # fmt: skip
    print(json.dumps({"policies": policies}))


if __name__ == "__main__":
    main()
