"""What LLVM must know of a machine to make code for it."""

from __future__ import annotations

from collections.abc import Iterable

from trimtab.compiler.model import START_S
from trimtab.cost.latency import Roofline
from trimtab.errors import MachineError, UsageError
from trimtab.graph.types import Graph
from trimtab.hardware.machine import Kind, Machine
from trimtab.runtime.program import Target

__all__ = ["target_for", "useful_threads"]

_X86_FEATURES = (
    ("x86-64-v4", ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
    ("x86-64-v3", ("avx2", "fma", "bmi2", "f16c")),
    ("x86-64-v2", ("sse4.2", "popcnt")),
    ("x86-64", ("sse2",)),
)
# The levels of the x86-64 psABI, each with all below it.
_HANDOVERS = 2.5
# Times that a framework's dispatch of an operator fits between the thread that calls
# and the one whose pool computes, and back: 16 of 6 microseconds on a Zen 5 core, 11 to
# 26 on a Zen 3 core.


def target_for(machine: Machine, *, threads: int = 1) -> Target:
    """Return what code for a machine is made for.

    Args:
        machine: to compile for.
        threads: of a call.

    Raises:
        MachineError: it is no CPU, or of an architecture there are no kernels for.
        UsageError: the threads are no whole number from one on.
    """
    if type(threads) is not int or threads < 1:
        raise UsageError(
            f"{threads!r} threads",
            rule="a call takes a whole number of them, at least one",
            where="threads",
            remedy="give 1, or as many as the machine has cores",
        )
    isa = machine.core.isa
    if machine.kind is not Kind.CPU:
        raise MachineError(
            f"compilation for {machine.name!r}",
            rule="kernels are made for CPUs only, it is a GPU",
            where=f"machine {machine.name!r}",
            remedy="name a CPU of `trimtab machine list`",
        )
    if isa.startswith("x86-64"):
        levels = [level for level, _ in _X86_FEATURES]
        start = levels.index(isa) if isa in levels else len(levels) - 1
        features = [each for _, some in _X86_FEATURES[start:] for each in some]
        triple = "x86_64-linux-gnu"
    elif isa.startswith("armv"):
        features, triple = ["neon"], "aarch64-linux-gnu"
    else:
        raise MachineError(
            f"compilation for instruction set {isa!r}",
            rule="kernels are made for x86-64 and ARMv8",
            where=f"machine {machine.name!r}",
            remedy="correct `core.isa` in its file, or name another machine",
        )
    return Target(
        machine=machine.name,
        llvm_cpu=machine.core.llvm_cpu,
        triple=triple,
        features=tuple(features),
        threads=threads,
    )


def useful_threads(graphs: Iterable[Graph], machine: Machine, threads: int) -> int:
    """Return how many threads are worth it: these, or one for what is too small.

    A call is handed over to the thread that has the pool, and each operator starts a
    parallel loop: small networks take longer with several threads than with one.

    Args:
        graphs: the network, for one batch size or several; the largest decides.
        machine: that computes.
        threads: of a call, at most.
    """
    if threads == 1:
        return 1
    for graph in graphs:
        each = [node.estimate for node in Roofline().estimate(graph, machine).nodes]
        alone_s = sum(one.latency_s - one.overhead_s for one in each)
        saved_s = alone_s * (1 - 1 / threads) - len(each) * START_S
        if saved_s >= _HANDOVERS * machine.dispatch_s:
            return threads
    return 1
