"""The measured mode: schedules of a work, compiled and timed. A judge, never a chooser.

`trimtab compile` runs no candidate. This module does, to find out how good the choices
are: benchmarks ask it for the times of random schedules, or of all.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.compiler.model import Timing
from trimtab.compiler.tune import family_of
from trimtab.graph.types import ITEM_BYTES
from trimtab.hardware.measure import thread_times_s

__all__ = ["Measured", "measure"]

_COLD_BYTES = 96 << 20
# More than the last level of cache of the machines in the catalogue.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Times of one schedule on the present machine, one thread.

    Attributes:
        hot_s: median with everything in cache from the call before.
        cold_s: median after the caches were swept.
        samples_s: of the hot calls.
    """

    hot_s: float
    cold_s: float | None
    samples_s: tuple[float, ...]


def measure(
    work: Any,
    points: Sequence[Any],
    timing: Timing,
    target: Any,
    *,
    calls: int = 9,
    cold_calls: int = 0,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> list[Measured]:
    """Return the times of schedules of a work.

    Args:
        work: what to compute.
        points: its schedules.
        timing: of the core the code is made for.
        target: of TVM, see `trimtab.compiler.tvm.lower.target_of`.
        calls: to time with hot caches.
        cold_calls: to time with swept caches.
        progress: told the share that is done.
    """
    from trimtab.compiler.tvm.lower import compile_kernels

    sweep = torch.zeros(_COLD_BYTES // 4 if cold_calls else 0)
    found = []
    for index, point in enumerate(points):
        kernel = family_of(work, point).kernel(
            work, point, lanes=timing.lanes, threads=1, name="candidate"
        )
        function = compile_kernels([kernel], target).module["candidate"]
        buffers = [
            torch.rand(each.elements)
            if each.dtype == "float32"
            else torch.zeros(each.elements * ITEM_BYTES[each.dtype], dtype=torch.uint8)
            for each in kernel.parameters
        ]
        pointers = [ctypes.c_void_p(each.data_ptr()) for each in buffers]

        def call(function: Any = function, pointers: list[Any] = pointers) -> None:
            function(*pointers)

        hot = thread_times_s(call, calls=calls)
        cold = thread_times_s(call, calls=cold_calls, before=lambda: sweep.add_(1.0))
        found.append(
            Measured(
                hot_s=_median(hot),
                cold_s=_median(cold) if cold else None,
                samples_s=tuple(hot),
            )
        )
        progress((index + 1) / len(points), "measuring schedules")
    return found


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
