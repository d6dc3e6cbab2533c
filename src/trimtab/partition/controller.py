"""Which cut the next request takes: estimates in, a decision out, and what it cost.

It has no clock and no link of its own: live, an edge tells it what it sees; in a
replay, a simulation does, and both are decided by the same code. Every reply gives an
estimate of goodput, of the edge's and the cloud's load; while nothing is sent a probe
is due from time to time, or estimates would go stale and the network would stay on the
edge for ever.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.partition.conditions import Conditions, Objective
from trimtab.partition.space import Space
from trimtab.runtime.estimators import LogMean, Recent

__all__ = ["Controller", "Decision", "Seen", "Settings"]

_KEPT: Final = 10_000  # decisions
_FADING: Final = 0.05  # quantile of goodput that is its low end
_SLOW: Final = 30.0  # times of its profile that a machine is taken to be slower at most


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a controller decides.

    Attributes:
        objective: what is to be best.
        weight: of a new observation in estimates.
        gain: share of the present cut's cost that another must save to be taken.
        switch_s: that a change of the cut takes; 0 where tails share weights.
        requests: over which that has to pay.
        probe_s: between probes while nothing is sent.
        probe_bytes: of a probe.
        window_s: of goodput whose low end counts in objective ``p95``.
        bytes_per_s: that may be sent on average; probes count. None for no limit.
        burst_bytes: that may be sent at once beyond that.

    Raises:
        UsageError: a number outside of its limits.
    """

    objective: Objective = "latency"
    weight: float = 0.3
    gain: float = 0.05
    switch_s: float = 0.0
    requests: int = 20
    probe_s: float = 2.0
    probe_bytes: int = 32 * 1024
    window_s: float = 30.0
    bytes_per_s: float | None = None
    burst_bytes: int = 4 * 2**20

    def __post_init__(self) -> None:
        wrong = (
            not 0 < self.weight <= 1
            or self.gain < 0
            or self.switch_s < 0
            or self.requests < 1
            or self.probe_s <= 0
            or self.probe_bytes < 0
            or self.window_s <= 0
            or (self.bytes_per_s is not None and self.bytes_per_s <= 0)
            or self.burst_bytes <= 0
        )
        if wrong:
            raise UsageError(
                f"a controller with {self}",
                rule="weight is within (0, 1], requests at least 1, times, rates and "
                "bursts above 0, the rest at least 0",
                where="trimtab.partition.Settings",
                remedy="leave out what need not differ",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, from what, and what it turned out to cost.

    Attributes:
        number: from 0.
        at_s: time.
        index: of the cut and codec in the space.
        name: of the cut.
        codec: that values are sent with.
        predicted_s: cost that was predicted.
        runner_up: name of the best other cut.
        runner_up_s: its cost.
        second: its index.
        wanted: index of the best, were all layers in memory.
        conditions: that were assumed.
        switched: whether the cut is another than before.
        actual_s: latency, once it is known.
        best_s: least latency under what is known afterwards.
    """

    number: int
    at_s: float
    index: int
    name: str
    codec: str
    predicted_s: float
    runner_up: str
    runner_up_s: float
    second: int
    wanted: int
    conditions: Conditions
    switched: bool
    actual_s: float | None = None
    best_s: float | None = None

    @property
    def regret_s(self) -> float | None:
        """What the decision cost beyond the best one, as far as can be said."""
        if self.actual_s is None or self.best_s is None:
            return None
        return max(0.0, self.actual_s - self.best_s)

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        found = asdict(self)
        found["conditions"] = {
            key: value if math.isfinite(value) else None
            for key, value in found["conditions"].items()
        }
        return {**found, "regret_s": self.regret_s}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a request has shown.

    Attributes:
        edge_s: time on the edge, or None where nothing ran there.
        sent_bytes: over the link.
        link_s: from the first byte sent to the reply, without the cloud's time; None
            where nothing was sent.
        cloud_s: that the cloud worked, by its own clock; None likewise.
        queue_s: that the request waited there.
        latency_s: of the request.
    """

    edge_s: float | None
    sent_bytes: int
    link_s: float | None
    cloud_s: float | None
    queue_s: float
    latency_s: float


@final
class Controller:
    """Decides request by request.

    Args:
        space: of cuts and codecs.
        first: conditions that are assumed before anything was seen.
        settings: how it decides.

    Attributes:
        log: the last decisions, with what they turned out to cost.
        present: index of the cut and codec in force.
        switches: changes of the cut so far.
    """

    def __init__(
        self, space: Space, first: Conditions, settings: Settings | None = None
    ) -> None:
        self.space, self.settings = space, settings or Settings()
        self.log: deque[Decision] = deque(maxlen=_KEPT)
        self.present: int | None = None
        self.switches = 0
        self._number = 0
        self._first = first
        weight = self.settings.weight
        self.goodput = LogMean(weight=weight, value=first.uplink_bytes_per_s)
        self.edge = LogMean(weight=weight, value=first.edge_slowdown)
        self.cloud = LogMean(weight=weight, value=first.cloud_slowdown)
        self._low = Recent(self.settings.window_s)
        self._rtt = Recent(60.0)
        self._rtt_s = first.rtt_s
        self._queue_s = first.queue_s
        self._last_sent = -math.inf
        self._tokens = float(self.settings.burst_bytes)
        self._filled_at: float | None = None
        self.connected = True

    # What it knows

    def conditions(self, at_s: float) -> Conditions:
        """Return what is assumed of link and machines."""
        goodput = self.goodput.value or self._first.uplink_bytes_per_s
        low = self._low.quantile(_FADING, at=at_s)
        fading = self._first.fading if low is None else max(1.0, goodput / low)
        return replace(
            self._first,
            uplink_bytes_per_s=goodput,
            rtt_s=self._rtt_s,
            fading=fading,
            edge_slowdown=min(_SLOW, self.edge.value or 1.0),
            cloud_slowdown=min(_SLOW, self.cloud.value or 1.0),
            queue_s=self._queue_s,
        )

    def see_rtt(self, rtt_s: float, *, at_s: float) -> None:
        """Take a round trip of a small frame."""
        self._rtt.see(rtt_s, at=at_s)
        # Of what was queued on the way the least is free.
        self._rtt_s = self._rtt.quantile(0.25, at=at_s) or rtt_s

    def see_probe(self, sent_bytes: int, took_s: float, *, at_s: float) -> None:
        """Take the time from the first byte of a probe to its answer."""
        self._sent(sent_bytes, at_s)
        self._see_rate(sent_bytes, took_s - self._rtt_s, at_s)

    def see(self, decision: Decision, seen: Seen, *, at_s: float) -> Decision:
        """Take what a request has shown; return its decision with what it cost."""
        index = decision.index
        before = self.space.edge_s[index] + self.space.encode_s[index]
        if seen.edge_s is not None and before > 1e-4:
            self.edge.see(seen.edge_s / float(before))
        if seen.link_s is not None:
            self._sent(seen.sent_bytes, at_s)
            self._see_rate(seen.sent_bytes, seen.link_s - self._rtt_s, at_s)
            self._queue_s = 0.7 * self._queue_s + 0.3 * seen.queue_s
        after = self.space.cloud_s[index] + self.space.decode_s[index]
        if seen.cloud_s is not None and after > 1e-4:
            self.cloud.see(seen.cloud_s / float(after))
        known = self.conditions(at_s)
        if seen.link_s is not None and seen.sent_bytes > 4096:
            rate = seen.sent_bytes / max(1e-4, seen.link_s - self._rtt_s)
            known = replace(known, uplink_bytes_per_s=rate)
        done = replace(
            decision,
            actual_s=seen.latency_s,
            best_s=min(seen.latency_s, float(self.space.costs(known, "latency").min())),
        )
        for place in range(len(self.log) - 1, -1, -1):
            if self.log[place].number == decision.number:
                self.log[place] = done
                break
        return done

    def _see_rate(self, sent_bytes: int, took_s: float, at_s: float) -> None:
        # A time that is small beside the round trip is mostly its noise.
        share = min(1.0, took_s / max(0.25 * self._rtt_s, 1e-3))
        if share < 0.05 or not sent_bytes:
            return
        rate = sent_bytes / max(took_s, 1e-4)
        self.goodput.see(rate, share=share)
        self._low.see(rate, at=at_s)

    # What it may send

    def _sent(self, sent_bytes: int, at_s: float) -> None:
        self._fill(at_s)
        self._tokens -= sent_bytes
        self._last_sent = at_s

    def _fill(self, at_s: float) -> None:
        rate = self.settings.bytes_per_s
        if rate is not None and self._filled_at is not None:
            more = rate * max(0.0, at_s - self._filled_at)
            self._tokens = min(self._tokens + more, float(self.settings.burst_bytes))
        self._filled_at = at_s

    def _affordable(self, at_s: float) -> float:
        """Return the bytes that may be sent now."""
        if self.settings.bytes_per_s is None:
            return math.inf
        self._fill(at_s)
        return self._tokens

    def probe_due(self, at_s: float) -> int:
        """Return the bytes of a probe that is due now, 0 for none."""
        if at_s - self._last_sent < self.settings.probe_s:
            return 0
        size = self.settings.probe_bytes
        return size if size <= self._affordable(at_s) else 0

    # What it decides

    def decide(self, at_s: float, *, here: NDArray[np.bool_] | None = None) -> Decision:
        """Return what the next request takes.

        Without a connection it is the edge alone, where that is allowed.

        Args:
            at_s: time.
            here: which choices have their layers in memory; all by default. Where none
                will do, one of the others is taken.
        """
        at = self.conditions(at_s)
        costs = np.array(self.space.costs(at, self.settings.objective))
        if not self.connected and bool(self.space.local.any()):
            costs[~self.space.local] = math.inf
        costs[self.space.sizes > self._affordable(at_s)] = math.inf
        if not np.isfinite(costs).any():  # nothing is affordable: the smallest
            costs = np.where(
                self.space.sizes == self.space.sizes.min(), costs, math.inf
            )
            costs[int(np.argmin(self.space.sizes))] = 0.0
        wanted = best = self._best(costs)
        if here is not None and bool(np.isfinite(costs[here]).any()):
            best = self._best(np.where(here, costs, math.inf))
        now = self.present
        position = self.space.positions[best]
        others = np.where(self.space.positions != position, costs, math.inf)
        second = int(np.argmin(others))
        known = math.isfinite(float(others[second]))
        switched = now is not None and bool(self.space.positions[now] != position)
        self.switches += int(switched)
        self.present = best
        choice = self.space.choice(best, at)
        decision = Decision(
            number=self._number,
            at_s=at_s,
            index=best,
            name=choice.name,
            codec=choice.codec,
            predicted_s=choice.latency_s,
            runner_up=self.space.choice(second, at).name if known else "",
            runner_up_s=float(others[second]) if known else math.inf,
            second=second if known else best,
            wanted=wanted,
            conditions=at,
            switched=switched,
        )
        self._number += 1
        self.log.append(decision)
        return decision

    def _best(self, costs: NDArray[np.float64]) -> int:
        """Return the least, or the present one if that is not worth a change."""
        best, now = int(np.argmin(costs)), self.present
        if now is None or best == now or not math.isfinite(costs[now]):
            return best
        saved = float(costs[now] - costs[best])
        price = self.settings.switch_s / self.settings.requests
        return now if saved <= self.settings.gain * float(costs[now]) + price else best

    def summary(self) -> Mapping[str, float]:
        """Return how predictions and decisions turned out so far."""
        done = [each for each in self.log if each.actual_s is not None]
        if not done:
            return {"requests": 0.0, "switches": float(self.switches)}
        errors = [abs(each.predicted_s / (each.actual_s or 1e-9) - 1) for each in done]
        actual = math.fsum(each.actual_s or 0.0 for each in done)
        return {
            "requests": float(len(done)),
            "switches": float(self.switches),
            "prediction_error_frac": float(np.median(errors)),
            "regret_frac": math.fsum(each.regret_s or 0.0 for each in done)
            / max(actual, 1e-12),
        }
