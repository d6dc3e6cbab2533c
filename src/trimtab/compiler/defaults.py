"""Default schedules for operators that no family computes: which get one, and code."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from trimtab.compiler.fallback import Alternatives, Default, Operator, alternatives
from trimtab.compiler.keys import key_of
from trimtab.compiler.model import Timing
from trimtab.compiler.tvm.default import DefaultKernel, default_kernel
from trimtab.compiler.tvm.link import object_of
from trimtab.compiler.tvm.lower import compile_functions, target_of
from trimtab.hardware.machine import Machine
from trimtab.runtime.cache import Cache
from trimtab.runtime.program import Target
from trimtab.runtime.store import versions
from trimtab.units import format_duration

__all__ = ["defaults_of", "functions_of"]

_log = logging.getLogger(__name__)


def defaults_of(
    operators: Iterable[Operator],
    machine: Machine,
    timing: Timing,
    target: Target,
    *,
    cache: Cache | None = None,
) -> dict[Operator, Default]:
    """Return what becomes of operators: a kernel, or PyTorch and why.

    Args:
        operators: that no family computes.
        machine: to decide for.
        timing: of its cores.
        target: to make code for.
        cache: where earlier results are looked for and kept.
    """
    found: dict[Operator, Default] = {}
    for operator in operators:
        if operator in found:
            continue
        key = key_of(
            operator.text,
            machine=machine,
            versions=versions(),
            what=f"default schedule {target.triple} threads {target.threads}",
        )
        known = None if cache is None else _cached(cache, key)
        if known is None:
            times = alternatives(operator, timing, dispatch_s=machine.dispatch_s)
            known = _made(operator, f"default_{key[:12]}", times, target)
            if cache is not None:
                record = asdict(known)
                del record["code"]
                cache.put(key, record)
                cache.put_blob(key, known.code)
        found[operator] = known
    return found


def functions_of(defaults: Mapping[Operator, Default], threads: int) -> dict[str, Any]:
    """Return kernels as functions of TVM, for a library without a linker."""
    made = {}
    for operator, default in defaults.items():
        if default.function:
            kernel = _kernel(operator, default.function, threads)
            assert isinstance(kernel, DefaultKernel)
            made[default.function] = kernel.function
    return made


def _kernel(operator: Operator, name: str, threads: int) -> DefaultKernel | str:
    return default_kernel(operator.node, operator.types, name=name, threads=threads)


def _cached(cache: Cache, key: str) -> Default | None:
    record, code = cache.get(key), cache.get_blob(key)
    if record is None or code is None:
        return None
    sizes = {name: tuple(record[name]) for name in ("parameter_bytes", "scratch_bytes")}
    times = Alternatives(**record["times"])
    return Default(**{**record, **sizes, "times": times}, code=code)


def _made(
    operator: Operator, name: str, times: Alternatives, target: Target
) -> Default:
    if not times.default_is_faster:
        reason = (
            f"a default schedule would take {format_duration(times.default_s)}, "
            f"PyTorch {format_duration(times.pytorch_s)}"
        )
        return Default(
            function="", reason=reason, latency_s=times.pytorch_s, times=times
        )
    kernel = _kernel(operator, name, target.threads)
    if isinstance(kernel, str):
        return Default(
            function="", reason=kernel, latency_s=times.pytorch_s, times=times
        )
    try:
        compiled = compile_functions(
            {name: kernel.function}, target_of(target.llvm_cpu, target.triple)
        )
        code = object_of(compiled)
    except Exception as error:  # a network is to run, whatever TVM says to one operator
        _log.warning("no kernel for %s: %s", operator.text, error)
        reason = f"TVM: {(str(error).splitlines() or [type(error).__name__])[-1]}"
        return Default(
            function="", reason=reason, latency_s=times.pytorch_s, times=times
        )
    return Default(
        function=name,
        reason="",
        latency_s=times.default_s,
        times=times,
        parameter_bytes=kernel.parameter_bytes,
        scratch_bytes=kernel.scratch_bytes,
        code=code,
    )
