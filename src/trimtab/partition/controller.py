"""Which cut the next request takes; over 400 lines: what is seen is what decides.

Estimates in, a decision out, and what it cost.

It has no clock and no link of its own: live, an edge tells it what it sees; in a
replay, a simulation does, and both are decided by the same code. Every reply gives an
estimate of goodput, of the edge's and the cloud's load; while nothing is sent a probe
is due from time to time, or estimates would go stale and the network would stay on the
edge for ever. Loads that are not seen any more are forgotten by and by, for the same
reason. Where the link changes faster than it can be seen, adapting may lose against one
cut for all: then it is that cut for a while (`Safeguard`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.partition.conditions import Conditions, Objective
from trimtab.partition.safeguard import Safeguard
from trimtab.partition.space import Space
from trimtab.runtime.estimators import LogMean, Recent

__all__ = ["Controller", "Decision", "Seen", "Settings"]

_KEPT: Final = 10_000  # decisions
_MOST_PROBE: Final = 64 * 1024  # bytes: one frame
_FADING: Final = 0.05  # quantile of goodput that is its low end
_SLOW: Final = 30.0  # times of its profile that a machine is taken to be slower at most
_CONFIRM: Final = 0.1  # of the time between probes, where one was a surprise
_VARIED: Final = 0.4  # of the time between probes, by which it is shorter at most
_GOLDEN: Final = (5**0.5 - 1) / 2  # its multiples fill the times between evenly
_TRIP_S: Final = 6.0  # in which the least round trip counts


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
        forget_s: after which a load that was not seen since is taken to be down to its
            root, or 1/2.7 of its logarithm.
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
    forget_s: float = 10.0
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
            or not 0 <= self.probe_bytes <= _MOST_PROBE
            or self.forget_s <= 0
            or self.window_s <= 0
            or (self.bytes_per_s is not None and self.bytes_per_s <= 0)
            or self.burst_bytes <= 0
        )
        if wrong:
            raise UsageError(
                f"a controller with {self}",
                rule="weight is within (0, 1], requests at least 1, times, rates and "
                f"bursts above 0, a probe up to {_MOST_PROBE} bytes, the rest at least "
                "0",
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
        predicted_s: latency that was predicted.
        runner_up: name of the best other cut; empty where there is no other.
        runner_up_s: its latency, else infinite.
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
        second = self.runner_up_s if math.isfinite(self.runner_up_s) else None
        return {**found, "runner_up_s": second, "regret_s": self.regret_s}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a request has shown.

    Attributes:
        edge_s: time on the edge, or None where nothing ran there.
        sent_bytes: over the link.
        link_s: from the first byte sent to the reply, without the cloud's time; None
            where none came.
        cloud_s: that the cloud worked, by its own clock; None likewise.
        queue_s: that the request waited there, or would have, where it was refused.
        latency_s: of the request.
        overtaken: whether the edge had done the rest itself before an answer came.
    """

    edge_s: float | None
    sent_bytes: int
    link_s: float | None
    cloud_s: float | None
    queue_s: float
    latency_s: float
    overtaken: bool = False


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
        self._rtt = Recent(_TRIP_S)
        self._rtt_s = first.rtt_s
        self._queue_s = first.queue_s
        self._edge_at: float | None = None  # when its load was seen
        self._cloud_at: float | None = None
        self._unanswered = self._cleared = False
        self._rate = first.uplink_bytes_per_s  # the last that was seen
        self._probes = 0
        self._safeguard = Safeguard(len(space.cuts))
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
            edge_slowdown=self._load(self.edge, self._kept(self._edge_at, at_s)),
            cloud_slowdown=self._load(self.cloud, self._kept(self._cloud_at, at_s)),
            queue_s=self._queue_s * self._kept(self._cloud_at, at_s),
        )

    def _kept(self, seen_at_s: float | None, at_s: float) -> float:
        """Return how much is still thought of what was seen at a time."""
        age_s = 0.0 if seen_at_s is None else max(0.0, at_s - seen_at_s)
        return math.exp(-age_s / self.settings.forget_s)

    def _load(self, mean: LogMean, kept: float) -> float:
        """Return a slow-down; what was slow may be so no more."""
        value: float = min(_SLOW, mean.value or 1.0)
        return value if value <= 1.0 else float(value**kept)

    def see_rtt(self, rtt_s: float, *, at_s: float) -> None:
        """Take a round trip of a small frame."""
        self._rtt.see(rtt_s, at=at_s)
        # Of what was queued on the way the least is free.
        self._rtt_s = self._rtt.quantile(0.0, at=at_s) or rtt_s

    def see_probe(self, sent_bytes: int, took_s: float | None, *, at_s: float) -> None:
        """Take the time from the first byte of a probe to its answer.

        None is that of one that the cloud refused: its bytes count all the same.
        """
        self._sent(sent_bytes, at_s)
        self._probes += 1
        if took_s is None:
            return
        before = self.goodput.value or 0.0
        self._see_rate(sent_bytes, took_s, at_s)
        self._cleared = self._unanswered and (self.goodput.value or 0.0) >= before

    def see(self, decision: Decision, seen: Seen, *, at_s: float) -> Decision:
        """Take what a request has shown; return its decision with what it cost."""
        index = decision.index
        before = self.space.edge_s[index] + self.space.encode_s[index]
        if seen.edge_s is not None and before > 1e-4:
            self.edge.see(seen.edge_s / float(before))
            self._edge_at = at_s
        if seen.overtaken:
            self._see_none(index, seen, at_s)
        elif seen.link_s is None and seen.sent_bytes:  # no word of how fast it is
            self._sent(seen.sent_bytes, at_s)
            if seen.queue_s > 0:  # refused, for so long
                self._queue_s, self._cloud_at = seen.queue_s, at_s
        if seen.link_s is not None:
            self._unanswered = self._cleared = False
            self._sent(seen.sent_bytes, at_s)
            self._see_rate(seen.sent_bytes, seen.link_s, at_s)
            self._queue_s = 0.7 * self._queue_s + 0.3 * seen.queue_s
        after = self.space.cloud_s[index] + self.space.decode_s[index]
        if seen.cloud_s is not None and after > 1e-4:
            self.cloud.see(seen.cloud_s / float(after))
            self._cloud_at = at_s
        known = replace(
            self.conditions(at_s),
            uplink_bytes_per_s=self._rate,
            edge_slowdown=min(_SLOW, self.edge.value or 1.0),
            cloud_slowdown=min(_SLOW, self.cloud.value or 1.0),
        )
        every = self.space.costs(known, "latency")
        self._safeguard.see(seen.latency_s, every)
        done = replace(
            decision,
            actual_s=seen.latency_s,
            best_s=min(seen.latency_s, float(every.min())),
        )
        for place in range(len(self.log) - 1, -1, -1):
            if self.log[place].number == decision.number:
                self.log[place] = done
                break
        return done

    def _see_none(self, index: int, seen: Seen, at_s: float) -> None:
        """Take that no answer came while the edge did the rest itself.

        So the link was at most so fast. If that was thought before, and a probe found
        the link as fast as ever, it is the cloud that is at least so slow.
        """
        self._sent(seen.sent_bytes, at_s)
        whole = seen.latency_s - (seen.edge_s or 0.0)
        waited = whole - self._rtt_s
        if waited <= 0:
            return
        rate = self.goodput.value or self._first.uplink_bytes_per_s
        after = float(self.space.cloud_s[index] + self.space.decode_s[index])
        if self._cleared and after > 1e-4:
            least = (waited - seen.sent_bytes / rate) / after
            if least > (self.cloud.value or 1.0):
                self.cloud.see(least)
                self._cloud_at = at_s
        elif seen.sent_bytes / waited < rate:
            self._see_rate(seen.sent_bytes, whole, at_s)
        self._unanswered = True

    def _see_rate(self, sent_bytes: int, whole_s: float, at_s: float) -> None:
        """Take the time from the first byte to the answer, without work between."""
        if whole_s < self._rtt_s:  # it is no longer what it was: half, until measured
            self._rtt_s = whole_s / 2
            least = sent_bytes / max(whole_s, 1e-4)
            if least > (self.goodput.value or 0.0):
                self.goodput.see(least)
                self._rate = least
            return
        took_s = whole_s - self._rtt_s
        # A time that is small beside the round trip is mostly its noise.
        share = min(1.0, took_s / max(0.25 * self._rtt_s, 1e-3))
        if share < 0.05 or not sent_bytes:
            return
        rate = sent_bytes / max(took_s, 1e-4)
        self.goodput.see(rate, share=share)
        self._rate = rate
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
        """Return the bytes of a probe that is due now, 0 for none.

        One that surprises is confirmed at once. Times between vary, or probes would
        see one side only of what comes and goes in the same time.
        """
        share = _CONFIRM
        if not self.goodput.unsure:
            share = 1.0 - _VARIED * (_GOLDEN * self._probes % 1.0)
        if at_s - self._last_sent < share * self.settings.probe_s:
            return 0
        size = self.settings.probe_bytes
        return size if size <= self._affordable(at_s) else 0

    # What it decides

    def decide(
        self,
        at_s: float,
        *,
        here: NDArray[np.bool_] | None = None,
        refused: Collection[int] = (),
    ) -> Decision:
        """Return what the next request takes.

        Without a connection it is the edge alone, where that is allowed.

        Args:
            at_s: time.
            here: which choices have their layers in memory; all by default. Where none
                will do, one of the others is taken.
            refused: positions of cuts that the cloud has no memory for.
        """
        if self._edge_at is None or self._cloud_at is None:
            self._edge_at, self._cloud_at = (
                self._edge_at or at_s,
                self._cloud_at or at_s,
            )
        at = self.conditions(at_s)
        costs = np.array(self.space.costs(at, self.settings.objective))
        if not self.connected and bool(self.space.local.any()):
            costs[~self.space.local] = math.inf
        costs[self.space.sizes > self._affordable(at_s)] = math.inf
        if refused:
            costs[np.isin(self.space.positions, list(refused))] = math.inf
        if not np.isfinite(costs).any():  # nothing is affordable: the smallest
            costs = np.where(
                self.space.sizes == self.space.sizes.min(), costs, math.inf
            )
            costs[int(np.argmin(self.space.sizes))] = 0.0
        wanted = best = self._best(costs)
        if here is not None and bool(np.isfinite(costs[here]).any()):
            best = self._best(np.where(here, costs, math.inf))
        now = self.present
        kept = None
        if self.settings.objective in ("latency", "p95"):
            kept = self._safeguard.keeps(at_s)
        if kept is not None and math.isfinite(costs[kept]):
            wanted = kept
            if here is None or here[kept]:
                best = kept
        position = self.space.positions[best]
        others = np.where(self.space.positions != position, costs, math.inf)
        second = int(np.argmin(others))
        known = math.isfinite(float(others[second]))
        whole = np.sum(self.space.parts(at), axis=0)
        switched = now is not None and bool(self.space.positions[now] != position)
        self.switches += int(switched)
        self.present = best
        decision = Decision(
            number=self._number,
            at_s=at_s,
            index=best,
            name=self.space.name(best),
            codec=self.space.codecs[best],
            predicted_s=float(whole[best]),
            runner_up=self.space.name(second) if known else "",
            runner_up_s=float(whole[second]) if known else math.inf,
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
