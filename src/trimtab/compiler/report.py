"""What the compiler has to tell: tasks, schedules, predicted times, rejections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.compiler.build import Built
from trimtab.compiler.tasks import Task
from trimtab.graph.operators import is_opaque
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Target
from trimtab.units import format_duration

__all__ = ["DEFAULT", "PYTORCH", "limits_in", "others_in", "report_of"]

DEFAULT = "default schedule"
"""Family of operators that have a kernel, but none that was chosen."""
PYTORCH = "PyTorch"
"""Family of operators that have no kernel."""


def report_of(built: Built, machine: Machine, target: Target) -> dict[str, Any]:
    """Return the report of a compilation, as JSON.

    Times are seconds. Those of operators that no family computes, which have a default
    schedule or are done by PyTorch, are estimates from their work. Tasks and their sum
    are those of the smallest batch size; ``batches`` has them for every one.
    """
    batches: list[dict[str, Any]] = []
    for batch, planned in sorted(built.plans.items()):
        tasks = [_task(built, each) for each in planned.tasks]
        latency_s = sum(each["latency_s"] for each in tasks)
        batches.append({"batch": batch, "latency_s": latency_s, "tasks": tasks})
    return {
        "machine": machine.name,
        "llvm_cpu": target.llvm_cpu,
        "threads": target.threads,
        "batch_sizes": sorted(built.plans),
        "winograd": built.winograd,
        "kernels": len(built.tuned),
        "latency_s": batches[0]["latency_s"],
        "tasks": batches[0]["tasks"],
        "batches": batches,
    }


def others_in(report: Mapping[str, Any]) -> list[str]:
    """Return sentences about the operators that no family computes, and their share.

    Args:
        report: see `report_of`, or one of its batches.

    Example:
        >>> task = {"family": PYTORCH, "op": "aten.sort.default", "latency_s": 1.0}
        >>> others_in({"latency_s": 4.0, "tasks": [task]})
        ['1 task(s) are left to PyTorch, 25 % of the time: aten.sort.default']
    """
    found = []
    for family, words in (
        (DEFAULT, "have a default schedule"),
        (PYTORCH, "are left to PyTorch"),
    ):
        tasks = [task for task in report["tasks"] if task["family"] == family]
        if tasks:
            taken = sum(task["latency_s"] for task in tasks)
            share = 100 * taken / report["latency_s"] if report["latency_s"] else 0.0
            names = ", ".join(dict.fromkeys(_named(task["op"]) for task in tasks))
            found.append(
                f"{len(tasks)} task(s) {words}, {share:.0f} % of the time: {names}"
            )
    return found


def limits_in(task: Mapping[str, Any], count: int = 0) -> str:
    """Return the limits of a task by name, the largest first, without those of 0.

    Args:
        task: of a report.
        count: how many of them; all if 0.

    Example:
        >>> limits_in({"limits_s": {"L2": 0.0, "compute": 3e-6, "L3": 2e-6}})
        'compute 3.00 µs, L3 2.00 µs'
    """
    pairs = sorted(task["limits_s"].items(), key=lambda pair: -pair[1])
    return ", ".join(
        f"{name} {format_duration(value)}"
        for name, value in pairs[: count or None]
        if value
    )


def _named(op: str) -> str:
    return f"{op} (cost unknown: counted as its traffic)" if is_opaque(op) else op


def _task(built: Built, task: Any) -> Mapping[str, Any]:
    if not isinstance(task, Task):
        default = built.defaults[task.operator]
        family = DEFAULT if default.function else PYTORCH
        return {
            "nodes": [task.node.name],
            "module": task.node.module,
            "op": task.node.op,
            "family": family,
            "function": default.function or None,
            "schedule": None,
            "latency_s": default.latency_s,
            "limits_s": {family: default.latency_s},
            "alternatives_s": {
                DEFAULT: default.times.default_s,
                PYTORCH: default.times.pytorch_s,
            },
            "bottleneck": family,
            "judged": 0,
            "objection": default.reason,
            "rejected": [],
        }
    tuned = built.tuned[task.work]
    limits = dict(tuned.limits_s)
    return {
        "nodes": list(task.nodes),
        "module": task.module,
        "op": None,
        "family": tuned.family,
        "function": tuned.chosen.function,
        "schedule": _words(tuned.chosen.point),
        "latency_s": tuned.latency_s,
        "limits_s": limits,
        "alternatives_s": {},
        "bottleneck": max(limits, key=lambda name: limits[name]),
        "judged": tuned.judged,
        "objection": tuned.objection,
        "rejected": [
            {"schedule": dict(point), "reason": reason}
            for point, reason in tuned.rejected
        ],
    }


def _words(point: Any) -> dict[str, Any]:
    return dict(point._asdict())
