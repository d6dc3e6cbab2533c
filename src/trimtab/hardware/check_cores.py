"""Whether the tables of cores can be true, and which of their rows lack a source."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.errors import UnknownMachineError
from trimtab.frozen import FrozenDict
from trimtab.hardware.check import Finding, Severity
from trimtab.hardware.cores import Microarchitecture, Row, microarchitecture
from trimtab.hardware.machine import Kind, Machine, Origin, Source
from trimtab.hardware.operations import LOADS, Operation

__all__ = ["check_core", "check_core_of", "core_for", "unsourced_rows"]

ISSUE_WIDTH = (1.0, 16.0)
"""Slots a cycle: one on the smallest cores, ten on the widest there are."""

LATENCY_CYCLES = (0.0, 128.0)
"""Of one instruction; the slowest divisions take a hundred."""

LOAD_LATENCY_CYCLES = (1.0, 40.0)
"""From level 1; a gather takes the most."""

FORWARD_CYCLES = (0.0, 30.0)
"""From a store to a load of the same place."""

_Problem = tuple[str, Severity, str]


def unsourced_rows(core: Microarchitecture) -> FrozenDict[str, Source]:
    """Return the rows and numbers that are no evidence, by what they describe.

    Example:
        >>> from trimtab.hardware.cores import core_table
        >>> "store-masked 256" in unsourced_rows(core_table("znver3"))
        False
    """
    found = {path: source for path, source in core.sources.items() if _weak(source)}
    for row in core.rows:
        if _weak(row.source):
            found.setdefault(_path(row), row.source)
    return FrozenDict(found)


def _weak(source: Source) -> bool:
    return source.origin in (Origin.DERIVED, Origin.RECALLED)


def _path(row: Row) -> str:
    widths = " ".join(map(str, row.bits))
    return f"{', '.join(row.operations)} {widths}".strip()


def check_core(core: Microarchitecture) -> tuple[Finding, ...]:
    """Return what is wrong with a table; empty where nothing is.

    Example:
        >>> from trimtab.hardware.cores import core_table
        >>> check_core(core_table("znver3"))
        ()
    """
    return tuple(
        Finding(machine=f"core {core.name}", path=path, severity=severity, text=text)
        for path, severity, text in (*_numbers(core), *_rows(core))
    )


def _numbers(core: Microarchitecture) -> Iterator[_Problem]:
    for path, value, (low, high) in (
        ("issue_width", core.issue_width, ISSUE_WIDTH),
        ("store_forward_cycles", core.store_forward_cycles, FORWARD_CYCLES),
    ):
        if not low <= value <= high:
            text = f"{value:g} is not between {low:g} and {high:g}"
            yield path, Severity.ERROR, text
    used = {port for row in core.rows for uop in row.uops for port in uop.ports}
    for port in core.ports:
        if port not in used:
            yield "ports", Severity.NOTE, f"no row uses port {port}"


def _rows(core: Microarchitecture) -> Iterator[_Problem]:
    for row in core.rows:
        loads = bool(LOADS & set(row.operations))
        low, high = LOAD_LATENCY_CYCLES if loads else LATENCY_CYCLES
        if not low <= row.latency <= high:
            text = f"{row.latency:g} cycles are not between {low:g} and {high:g}"
            yield _path(row), Severity.ERROR, text
        if row.accumulate_latency > row.latency:
            text = (
                f"{row.accumulate_latency:g} cycles from the addend are more than "
                f"{row.latency:g} from the factors"
            )
            yield _path(row), Severity.ERROR, text


def core_for(machine: Machine) -> Microarchitecture | None:
    """Return the table of a machine's core, None where there is none.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> core_for(machine("milan")).name, core_for(machine("h100"))
        ('znver3', None)
    """
    if machine.kind is not Kind.CPU:
        return None
    try:
        return microarchitecture(machine.core.llvm_cpu)
    except UnknownMachineError:
        return None


def check_core_of(machine: Machine) -> tuple[Finding, ...]:
    """Return where a machine and the table of its core contradict each other.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> check_core_of(machine("milan"))
        ()
    """
    core = core_for(machine)
    if core is None:
        if machine.kind is not Kind.CPU:
            return ()
        text = (
            f"no table of ports and latencies names {machine.core.llvm_cpu}: code "
            "for it cannot be analysed"
        )
        note = Severity.NOTE
        return (
            Finding(
                machine=machine.name, path="core.llvm_cpu", severity=note, text=text
            ),
        )
    problems = []
    if core.vector_registers != machine.core.vector_registers:
        text = (
            f"{machine.core.vector_registers}, the table {core.name} has "
            f"{core.vector_registers}"
        )
        problems.append(("core.vector_registers", text))
    # Vectors of SVE have the width 0 in a table.
    started = [
        core.throughput(Operation.FMA, bits)
        for bits in (machine.core.simd_bits, 0)
        if core.row(Operation.FMA, bits) is not None
    ]
    if started and machine.core.fma_units not in started:
        text = (
            f"{machine.core.fma_units:g}, by the table {core.name} "
            f"{max(started):g} of that width start a cycle"
        )
        problems.append(("core.fma_units", text))
    return tuple(
        Finding(machine=machine.name, path=path, severity=Severity.ERROR, text=text)
        for path, text in problems
    )
