"""What each server sustains over HTTP within a target on its tail, on one network.

All have the same module, payload, cores and load: Poisson arrivals, MLPerf sizes, sent
when they are to be whatever the server does. Each has as many settings; which one is
best is found on one sequence of queries, and what it sustains on others. The servers
take turns, started anew each time, so that what the machine does besides hits all.

A rate is kept where p95 is within the target. A miss while the load itself was late
(`_DELAY_FRAC` of the target) is tried once more: it may be the generator's.

    python -m benchmarks.serve.peers.compare wnd
"""

from __future__ import annotations

import json
import math
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, final

import numpy as np
import typer

from benchmarks.serve.peers.servers import SUBJECTS, Setting, started
from trimtab.serve.arrivals import Poisson
from trimtab.serve.curves import target_s
from trimtab.serve.live.http_load import Served
from trimtab.serve.live.load import run
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Workload
from trimtab.units import format_duration

__all__ = ["SEEDS", "Effort", "Search", "compared", "largest", "main"]

SEEDS: Final = (1, 2, 3)
_CHOICE: Final = 0  # the seed that settings are chosen on
_DELAY_FRAC: Final = 0.05
_WARM_FRAC: Final = 0.1
_SHARE: Final = 0.95
_LEAST_FRAC: Final = 1 / 32  # of the first rate, below which nothing is tried
_BETTER: Final = 1.05  # times the best rate so far, which another setting has to keep
_WAIT_S: Final = 30.0  # for the last answers: the next run begins with an empty queue
_MEAN_ITEMS: Final = 270


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How carefully is looked.

    Attributes:
        seconds: of a run.
        least: queries of a run.
        precision: within which a rate is found.
        settings: of each server.
        seeds: that rates are judged on.
    """

    seconds: float = 2.5
    least: int = 250
    precision: float = 0.05
    settings: int = 4
    seeds: tuple[int, ...] = SEEDS


_QUICK: Final = Effort(seconds=1.5, least=60, precision=0.3, settings=1, seeds=(1,))


@final
@dataclass(slots=True, kw_only=True)
class Search:
    """Runs on one server, and what they showed.

    Attributes:
        served: that is asked.
        target_s: of p95.
        seed: of the queries.
        effort: of a run.
        runs: rate, p95 and issue delay of each.
        unsure: misses while the load was late, twice.
    """

    served: Served
    target_s: float
    seed: int
    effort: Effort
    runs: list[dict[str, Any]] = field(default_factory=list)
    unsure: int = 0

    def keeps(self, rate_per_s: float) -> bool:
        """Return whether the tail is within the target at a rate."""
        for again in (False, True):
            p95_s, delay_s = self._run(rate_per_s)
            if p95_s <= self.target_s:
                return True
            if delay_s <= _DELAY_FRAC * self.target_s:
                return False
            self.unsure += again
        return False

    def warm(self, rate_per_s: float) -> None:
        """Ask for a while; nothing is judged."""
        trace = _WORK.trace(rate_per_s=rate_per_s, duration_s=1.0, seed=99)
        run(self.served, trace, wait_s=_WAIT_S)

    def _run(self, rate_per_s: float) -> tuple[float, float]:
        effort = self.effort
        count = max(effort.least, round(rate_per_s * effort.seconds))
        trace = _WORK.trace(rate_per_s=rate_per_s, count=count, seed=self.seed)
        ran = run(self.served, trace, wait_s=_WAIT_S)
        if len(ran.latency_s) < count:
            p95_s = math.inf
        else:
            judged = ran.latency_s[int(_WARM_FRAC * count) :]
            p95_s = float(np.quantile(judged, _SHARE, method="higher"))
        delay_s = float(np.quantile(ran.delay_s, 0.99))
        self.runs.append({
            "rate_per_s": rate_per_s, "delay_p99_s": delay_s,
            "p95_s": p95_s if math.isfinite(p95_s) else None, "error": ran.error[:200],
        })  # fmt: skip
        _say(
            f"    {rate_per_s:.4g}/s: p95 {1e3 * p95_s:.2f} ms, late "
            f"{format_duration(delay_s)} {ran.error[:160]}"
        )
        return p95_s, delay_s


_WORK: Final = Workload(arrivals=Poisson(), sizes=parse_sizes("mlperf"))


def largest(
    keeps: Callable[[float], bool],
    guess: float,
    *,
    precision: float,
    least: float,
    step: float = 1.4,
) -> float:
    """Return the largest rate that is kept; 0 where `least` is not.

    Args:
        keeps: whether a rate is kept.
        guess: where to begin.
        precision: within which it is found.
        least: below which nothing is tried.
        step: from the first rate to the next; later ones are longer.

    Example:
        >>> round(largest(lambda rate: rate < 77.0, 10.0, precision=0.01, least=1.0))
        77
    """
    low, high, rate = 0.0, math.inf, guess
    while not (low and high < math.inf):
        if keeps(rate):
            low, rate = rate, rate * step
        else:
            if rate <= least:
                return 0.0
            high, rate = rate, max(least, rate / step)
        step **= 1.4
    while high > (1 + precision) * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def compared(network: str, effort: Effort) -> dict[str, Any]:
    """Return what each server sustains, by seed, with the best of its settings."""
    target = target_s(network)
    guess = _first(network)
    least = _LEAST_FRAC * guess
    found: dict[str, dict[str, Any]] = {
        subject: {"settings": [], "chosen": 0, "rates": [], "unsure": 0, "runs": []}
        for subject in SUBJECTS
    }
    best = dict.fromkeys(SUBJECTS, 0.0)
    begun = time.monotonic()

    def on(
        subject: str, number: int, seed: int, start: float, step: float, *, beat: bool
    ) -> float:
        """Return what a server sustains with one of its settings."""
        setting, told = SUBJECTS[subject][number], found[subject]
        _say(f"  {network}, seed {seed}, {subject}: {setting.title}")
        with _served(setting, network, target) as served:
            search = Search(served=served, target_s=target, seed=seed, effort=effort)
            search.warm(0.5 * start)
            if beat and not search.keeps(start):
                rate = 0.0  # how much worse it is, nobody asks
            else:
                rate = largest(
                    search.keeps, start, precision=effort.precision, least=least,
                    step=step,
                )  # fmt: skip
        told["unsure"] += search.unsure
        told["runs"] += [{"seed": seed, "setting": number, **each}
                         for each in search.runs]  # fmt: skip
        return rate

    for number in range(effort.settings):
        for subject in SUBJECTS:
            before = best[subject]
            start = _BETTER * before if before else guess
            rate = on(subject, number, _CHOICE, start, 1.4, beat=before > 0)
            found[subject]["settings"].append({
                **asdict(SUBJECTS[subject][number]), "rate_per_s": rate,
            })  # fmt: skip
            if rate > before:
                best[subject], found[subject]["chosen"] = rate, number
    for seed in effort.seeds:
        for subject in SUBJECTS:
            start = best[subject] or guess
            number = found[subject]["chosen"]
            found[subject]["rates"].append(
                on(subject, number, seed, start, 1.15, beat=False)
            )
    for subject, each in found.items():
        each["rate_per_s"] = statistics.median(each["rates"])
        each["title"] = SUBJECTS[subject][each["chosen"]].title
    return {
        "network": network, "target_s": target, "seeds": list(effort.seeds),
        "seconds": time.monotonic() - begun, "subjects": found,
    }  # fmt: skip


def _served(setting: Setting, network: str, target: float) -> Any:
    slo = f"p95={1e3 * target:g}ms"
    return started(setting, f"zoo:{network}-small", f"{network}-small", slo)


def _first(network: str) -> float:
    """Return the rate that keeps one core half busy, by the module alone."""
    from trimtab.pipeline.serving import open_model

    model = open_model(f"zoo:{network}-small")
    inputs = model.drawn(_MEAN_ITEMS)
    times = []
    for _ in range(9):
        begun = time.thread_time()
        model.call(inputs)
        times.append(time.thread_time() - begun)
    return 0.5 / statistics.median(times)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(*_: object) -> None:
    sys.exit(1)  # the server is ended on the way out


def main(
    network: Annotated[str, typer.Argument(help="Of the zoo, such as wnd.")],
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
) -> None:
    """Print one network's result as JSON."""
    signal.signal(signal.SIGTERM, _end)
    print(json.dumps(compared(network, _QUICK if quick else Effort())))


if __name__ == "__main__":
    typer.run(main)
