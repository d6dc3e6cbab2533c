"""Throughput within the target on this machine: tuned, fixed, and every batch size.

A network with small tables on all cores; MLPerf's query sizes, Poisson arrivals, the
paper's target. The tuner is that of ``trimtab serve tune``: it profiles, simulates and
tries the best three under load. It is held against batches of 25, against the paper's
rule (its largest query, 1000 items, over the workers), and against every batch size of
a list. All sizes are tried by the same few steps on the same queries; those that matter
are then measured again on queries that none of them was chosen by.

python -m benchmarks.serve.live rmc1
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from benchmarks.serve.trials import Bracket, settings_of, trial, work
from trimtab.errors import BudgetInfeasibleError
from trimtab.serve.capacity import Effort, Target, capacity
from trimtab.serve.curves import target_s
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.load import Drawn, InProcess
from trimtab.serve.live.tuning import confirm, profiled, proposed
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import static

__all__ = ["FIXED", "GRID", "live", "main"]

FIXED: Final = Schedule(batch=25)
"""What is beaten by half, or not."""

GRID: Final = (25, 64, 128, 192, 256, 384, 512, 768)
"""Batch sizes that are all tried, small chunks joined."""

_QUICK: Final = (64, 384)
_TUNE_SEED: Final = 0
_FIRST_SEED: Final = 100
_LAST_SEED: Final = 200
_FULL: Final = {"first": (4, 3.0, 300), "last": (4, 5.0, 600), "tune_s": 4.0}
_SHORT: Final = {"first": (2, 1.0, 100), "last": (2, 1.5, 150), "tune_s": 1.0}
# Steps, seconds and queries of a trial at least.


def live(network: str, *, quick: bool = False) -> dict[str, Any]:
    """Return what each schedule sustains on this machine."""
    target = Target(latency_s=target_s(network))
    effort: dict[str, Any] = _SHORT if quick else _FULL
    engine = Engine(settings_of(network, None), FIXED)
    curve = profiled(engine)
    host = Host(curve=curve, workers=engine.workers)
    found: dict[str, Any] = {
        "network": network, "target_s": target.latency_s, "workers": engine.workers,
        "profiled": {"sizes": curve.sizes, "seconds": curve.seconds},
    }  # fmt: skip
    try:
        candidates = proposed(
            host, work(), target, best=3, progress=lambda done, text: None
        )
    except BudgetInfeasibleError as error:
        return found | {"infeasible": error.rule}
    drawn = Drawn(engine.inputs, most_items=engine.settings.most_items, seed=1)
    subject = InProcess(engine, drawn)
    paper = static(engine.workers)
    with engine:
        tried = confirm(
            engine, candidates[: 1 if quick else None], work(), target,
            seconds=effort["tune_s"], seed=_TUNE_SEED,
        )  # fmt: skip
        tuned = replace(tried[0].schedule, version=0)
        every = [
            Schedule(batch=each, coalesce=True) for each in (_QUICK if quick else GRID)
        ]
        chosen = list(dict.fromkeys([FIXED, paper, tuned, *every]))
        short = Effort(queries=2_000, precision=0.05)
        guesses = {
            each: capacity(host, each, work(), target, effort=short).rate_per_s
            for each in chosen
        }
        most = max(guesses.values())
        begun = {each: 0.9 * guesses[each] or most / 4 for each in chosen}
        first = _rates(engine, subject, begun, target, effort["first"], _FIRST_SEED)
        # Tuned and tried alike, they are the same schedules under the same rules.
        best = max([tuned, *every], key=lambda each: first[each]["rate_per_s"])
        again = {
            each: first[each]["rate_per_s"] or begun[each]
            for each in dict.fromkeys([FIXED, paper, tuned, best])
        }
        last = _rates(engine, subject, again, target, effort["last"], _LAST_SEED)
    return found | {
        "simulated_per_s": {_name(each): guesses[each] for each in chosen},
        "tuner_valid": bool(tried[0].rate_per_s),
        "names": {
            "fixed": _name(FIXED), "paper": _name(paper), "tuned": _name(tuned),
            "best": _name(best),
        },
        "first": {_name(each): row for each, row in first.items()},
        "last": {_name(each): row for each, row in last.items()},
    }  # fmt: skip


def _rates(
    engine: Engine,
    subject: InProcess,
    guesses: dict[Schedule, float],
    target: Target,
    effort: tuple[int, float, int],
    seed: int,
) -> dict[Schedule, dict[str, Any]]:
    """Return what schedules sustain, closed in on by turns."""
    steps, seconds, least = effort
    brackets = {
        each: Bracket(guess=guess, limit_s=target.latency_s)
        for each, guess in guesses.items()
    }
    late: dict[Schedule, list[float]] = {each: [] for each in guesses}
    for step in range(steps):
        for each in _turned(list(guesses), step):
            rate = brackets[each].next()
            if rate is None:
                continue
            trace = work().trace(
                rate_per_s=rate, count=max(least, round(rate * seconds)),
                seed=seed + step,
            )  # fmt: skip
            seen = trial(engine, subject, each, trace, target)
            brackets[each].see(rate, seen["tail_s"])
            late[each].append(seen["delay_p99_s"])
            print(f"  {_name(each)}: {rate:.4g}/s {seen}", file=sys.stderr)
    return {
        each: {
            "rate_per_s": bracket.rate(), "held_per_s": bracket.low[0],
            "seen": [(rate, min(tail, 1e9)) for rate, tail in bracket.seen],
            "delay_p99_s": max(late[each]),
        }
        for each, bracket in brackets.items()
    }  # fmt: skip


def _turned(every: Sequence[Schedule], step: int) -> list[Schedule]:
    """Return schedules in another order at each step."""
    at = step * 3 % len(every)
    return [*every[at:], *every[:at]]


def _name(schedule: Schedule) -> str:
    return f"{schedule.batch}{'' if schedule.coalesce else ' apart'}"


def main() -> None:
    """Print one network's result as JSON."""
    print(json.dumps(live(sys.argv[1], quick="--quick" in sys.argv)))


if __name__ == "__main__":
    main()
