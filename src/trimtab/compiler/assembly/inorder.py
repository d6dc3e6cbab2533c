"""Instructions that start in the order of the program, as on small cores.

A core without a window of waiting instructions stalls at the first whose operands or
port are not there. Its time is no bound over sets of ports but a sum of stalls, so the
loop is played through, a few passes, until every pass takes the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.compiler.assembly.costs import cost_of, latency_of
from trimtab.compiler.assembly.instruction import Instruction
from trimtab.hardware.cores import Microarchitecture

__all__ = ["in_order_cycles"]

_PASSES = 6
# The first three warm up.


def in_order_cycles(code: Sequence[Instruction], core: Microarchitecture) -> float:
    """Return what a pass takes when instructions start in their order.

    Memory is taken not to delay: a load of what was just stored is one like any other.

    Args:
        code: one pass, in order.
        core: its ports, latencies, and how many start a cycle.
    """
    costs = [cost_of(each, core) for each in code]
    latencies = [latency_of(each, core) for each in code]
    free = dict.fromkeys(core.ports, 0.0)
    ready: dict[str, float] = {}
    now, started = 0.0, 0.0
    ends = []
    for _ in range(_PASSES):
        for each, cost, latency in zip(code, costs, latencies, strict=True):
            start = now
            for name in each.reads:
                # A late addend may come while the product is being formed.
                late = latency.operand - latency.addend if name == each.addend else 0.0
                start = max(start, ready.get(name, 0.0) - late)
            for name in each.memory.registers if each.memory is not None else ():
                start = max(start, ready.get(name, 0.0))
            chosen = []
            for uop in cost[0] if cost is not None else ():
                port = min(sorted(uop.ports), key=free.__getitem__)
                start = max(start, free[port])
                chosen.append((port, uop.cycles))
            if start > now:
                now, started = start, 0.0
            elif started >= core.issue_width:
                now, started = now + 1.0, 0.0
            started += 1.0
            for port, cycles in chosen:
                free[port] = max(free[port], now) + cycles
            result = latency.address if each.loads else latency.operand
            for name in each.writes:
                step = each.effect is not None and each.memory is not None
                moves = step and each.effect is not None and each.effect.target == name
                ready[name] = now + (1.0 if moves else result)
        ends.append(now)
    half = _PASSES // 2
    return (ends[-1] - ends[half - 1]) / (_PASSES - half)
