"""What compiling ResNet-50 costs: seconds and memory, and seconds from the cache.

Each compilation has a process of its own, whose imports are done before the clock
starts; the first one an empty cache, the second one that which the first has left.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

from benchmarks.jobs import NOT_MEASURED, Job, environment
from benchmarks.results import Row

__all__ = ["import_everything", "jobs", "rows"]

_THREADS = 2


def import_everything() -> None:
    """Import all that a compilation may import on first use."""
    for name in ("torch._dynamo", "torch._functorch.aot_autograd", "tvm"):
        importlib.import_module(name)
    import trimtab.compiler

    for each in pkgutil.walk_packages(trimtab.compiler.__path__, "trimtab.compiler."):
        if not each.name.endswith("metaschedule"):
            importlib.import_module(each.name)


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of the stored result ``cost/resnet50``."""
    stored = results.get("cost/resnet50", {"failed": NOT_MEASURED})
    failed = str(stored.get("failed", ""))
    first, second = stored.get("first", {}), stored.get("second", {})
    samples = "samples/cost.resnet50.json"
    return [
        Row(
            id="compile/cost/seconds",
            name=f"ResNet-50: tuning and compiling, {_THREADS} cores, imports not "
            "counted",
            value=first.get("seconds"),
            unit="s",
            op="<=",
            goal=20.0,
            samples=samples,
            note=failed,
        ),
        Row(
            id="compile/cost/memory",
            name="ResNet-50: peak resident memory of tuning and compiling",
            value=first.get("peak_bytes"),
            unit="bytes",
            op="<=",
            goal=3e9,
            samples=samples,
            note=failed
            or f"{first['imports_bytes'] / 1e9:.2f} GB of it before the compilation",
        ),
        Row(
            id="compile/cost/again",
            name="ResNet-50: second call, from the cache, imports not counted",
            value=second.get("seconds"),
            unit="s",
            op="<=",
            goal=3.0,
            samples=samples,
            note=failed,
        ),
    ]


def jobs() -> list[Job]:
    """Return the one job."""
    return [
        Job(
            key="cost/resnet50",
            module="benchmarks.compile.cost",
            arguments=("both",),
            threads=_THREADS,
        )
    ]


def _peak_bytes() -> int:
    """Return the peak resident memory of this process or of the largest child."""
    return 1024 * max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _once() -> dict[str, Any]:
    from benchmarks.compile.adapter import compiled
    from benchmarks.compile.networks import NETWORKS
    from trimtab.graph.capture import capture
    from trimtab.zoo.registry import network

    import_everything()
    small = network("lenet5")  # the first capture of a process imports too
    capture(small.build().eval(), small.example_inputs())
    factory, inputs = NETWORKS["resnet50"]
    module, given = factory().eval(), inputs()
    imports_bytes = _peak_bytes()
    start = time.perf_counter()
    compiled(module, given, _THREADS, cache=True)
    return {
        "seconds": time.perf_counter() - start,
        "imports_bytes": imports_bytes,
        "peak_bytes": _peak_bytes(),
    }


def main() -> None:
    """Compile twice in new processes, or once in this; print the result."""
    if sys.argv[1] == "once":
        print(json.dumps(_once()))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        _keep_calibration(folder)
        for name in ("first", "second"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.compile.cost", "once"],
                env={**environment(_THREADS), "TRIMTAB_CACHE": folder},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(found))


def _keep_calibration(folder: str) -> None:
    """Take the calibration of this machine into a cache that is empty otherwise."""
    from trimtab.hardware.calibration import calibration_path

    machines = calibration_path().parent
    if machines.is_dir():
        copytree(machines, Path(folder) / machines.name)


if __name__ == "__main__":
    main()
