"""What the compiler has to tell: tasks, schedules, predicted times, rejections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.compiler.build import Built
from trimtab.compiler.tasks import Task
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Target

__all__ = ["report_of"]


def report_of(built: Built, machine: Machine, target: Target) -> dict[str, Any]:
    """Return the report of a compilation, as JSON, for the smallest batch size.

    Times are seconds; of what runs through PyTorch none is predicted.
    """
    planned = built.plans[min(built.plans)]
    tasks = [_task(built, each) for each in planned.tasks]
    return {
        "machine": machine.name,
        "llvm_cpu": target.llvm_cpu,
        "threads": target.threads,
        "batch_sizes": sorted(built.plans),
        "kernels": len(built.tuned),
        "latency_s": sum(each["latency_s"] or 0.0 for each in tasks),
        "tasks": tasks,
    }


def _task(built: Built, task: Any) -> Mapping[str, Any]:
    if not isinstance(task, Task):
        return {
            "nodes": [task.node.name],
            "module": task.node.module,
            "op": task.node.op,
            "family": "PyTorch",
            "function": None,
            "schedule": None,
            "latency_s": None,
            "limits_s": {},
            "bottleneck": None,
            "judged": 0,
            "objection": "",
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
