"""The body of a loop as text, with what each instruction asks of each port."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trimtab.compiler.assembly.costs import cost_of
from trimtab.compiler.assembly.instruction import Instruction
from trimtab.compiler.assembly.ports import share, work_of
from trimtab.compiler.assembly.report import analyse, is_fused
from trimtab.hardware.cores import Microarchitecture, MicroOp

__all__ = ["explain"]

_WIDTH = 5


def explain(code: Sequence[Instruction], core: Microarchitecture) -> str:
    r"""Return one line an instruction: cycles of each port, the text, remarks.

    Below stand the sums, and the limits that follow, the largest first. Work that
    several ports can do is shared so that the busiest has the least.

    Example:
        >>> from trimtab.compiler.assembly.program import parse
        >>> from trimtab.hardware.cores import microarchitecture
        >>> found, = parse("f: \n vmulps %ymm1, %ymm2, %ymm0 \n retq")
        >>> code = found.blocks[0].instructions[:1]
        >>> print(explain(code, microarchitecture("znver3")))
           F0   F1
         0.50 0.50  vmulps %ymm1, %ymm2, %ymm0
         0.50 0.50  cycles of each port
        limits in cycles a pass: ports F0 F1 0.50, front end 0.17
    """
    report = analyse(code, core)
    rows: list[tuple[tuple[MicroOp, ...], str]] = []
    for place, each in enumerate(code):
        cost = cost_of(each, core)
        fused = is_fused(code, place, core)
        uops = () if cost is None or fused else cost[0]
        rows.append((uops, f"{each.text}{_remark(each, core, fused=fused)}"))
    parts = share(work_of(uop for uops, _ in rows for uop in uops))
    used = {port for shares in parts.values() for port in shares}
    ports = [port for port in core.ports if port in used]
    totals = dict.fromkeys(ports, 0.0)
    lines = ["".join(f"{port:>{_WIDTH}}" for port in ports)]
    for uops, text in rows:
        loads = dict.fromkeys(ports, 0.0)
        for uop in uops:
            for port, part in parts[uop.ports].items():
                loads[port] += part * uop.cycles
                totals[port] += part * uop.cycles
        lines.append(f"{_cells(loads.values())}  {text}")
    lines.append(f"{_cells(totals.values())}  cycles of each port")
    limits = sorted(report.limits_cycles.items(), key=lambda item: (-item[1], item[0]))
    lines.append(
        "limits in cycles a pass: "
        + ", ".join(f"{name} {value:.2f}" for name, value in limits)
    )
    if report.chain:
        lines.append("the chain goes through " + ", ".join(report.chain))
    if report.unknown:
        lines.append("unknown, not in the limits: " + ", ".join(report.unknown))
    return "\n".join(line.rstrip() for line in lines)


def _cells(loads: Iterable[float]) -> str:
    return "".join(f"{_cell(value):>{_WIDTH}}" for value in loads)


def _cell(value: float) -> str:
    """Return a number that leaves a space in its column."""
    if value <= 0.004:
        return ""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _remark(each: Instruction, core: Microarchitecture, *, fused: bool) -> str:
    if cost_of(each, core) is None:
        return "  # unknown"
    if fused:
        return "  # one with the jump"
    if each.memory is not None and each.memory.stack and (each.loads or each.stores):
        return "  # spilled"
    return ""
