"""What each policy would have done on a trace, request by request.

Requests begin at a pace. Each has the link and the loads of the moment it begins, and a
small noise; none waits for another, so that all policies meet the same conditions, and
what one has shown is known before the next. The adaptive policies are the controller
that runs in an edge, told what an edge would see: its own times, the cloud's, the time
and the bytes on the link, a round trip every two seconds, and its probes, which take
the link from requests and count as bytes. Like an edge they hedge: when an answer takes
twice as long as was predicted, the edge does the rest as well, and what is first
counts. Policies that never look do not.

A policy whose switch takes time stops for that long: requests that begin meanwhile wait
until it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.partition.conditions import Conditions, Objective
from trimtab.partition.controller import Controller, Decision, Seen, Settings
from trimtab.partition.course import Course, Pace, course_of, paid, probed_s, recovery_s
from trimtab.partition.space import Space, combined
from trimtab.partition.traces import Trace

__all__ = ["POLICIES", "Ran", "replay"]

Floats = NDArray[np.float64]

_UPLINK: Final = 20e6 / 8  # bytes/s that are assumed before anything was seen
_PING_S: Final = 2.0  # between round trips of small frames
_HEDGE: Final = 2.0  # times of the predicted rest until the edge does it as well
_HEDGE_S: Final = 0.05  # at least
_NEVER_S: Final = 1e9

FIXED: Final = ("optimum", "static", "edge", "cloud", "compressed")
ADAPTIVE: Final[dict[str, tuple[float, dict[str, float | str]]]] = {
    "adaptive": (0.0, {}),
    "no-probes": (0.0, {"probe_s": _NEVER_S}),
    "pause-0.6": (0.6, {"switch_s": 0.6}),
    "pause-6": (6.0, {"switch_s": 6.0}),
    "p95": (0.0, {"objective": "p95"}),
}
POLICIES: Final = (*FIXED, *ADAPTIVE)
"""Names of policies.

| name | what it does |
| --- | --- |
| optimum | knows the conditions of every request |
| static | the one cut that is best for the whole trace, in hindsight |
| edge, cloud | all on that side, the input as it is |
| compressed | all in the cloud, the input compressed as an image |
| adaptive | the controller |
| no-probes | the same without probes |
| pause-0.6, pause-6 | the same where a switch takes that many seconds |
| p95 | the same, by the slow end of what it saw |
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """What came of a policy.

    Attributes:
        policy: of `POLICIES`.
        cut: of a policy that never changes it, else "".
        mean_s: cost of a request, which is its latency if that is the objective.
        p95_s: that one request in twenty is above.
        ratio: of the mean to that of the optimum.
        switches: of the cut.
        sent_bytes: over the link, without probes.
        probe_bytes: of probes.
        late_frac: of requests after the deadline; None without one.
        recovery_s: the longest time, after the uplink rose to many times as much, until
            a request costs about what the optimum does; None where it never rose.
        costs_s: of each request.
    """

    policy: str
    cut: str
    mean_s: float
    p95_s: float
    ratio: float
    switches: int
    sent_bytes: float
    probe_bytes: float
    late_frac: float | None
    recovery_s: float | None
    costs_s: Floats


def replay(
    space: Space,
    trace: Trace,
    *,
    policies: Sequence[str] = POLICIES,
    objective: Objective = "latency",
    pace: Pace | None = None,
    settings: Settings | None = None,
    compressed_bytes: float | None = None,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> tuple[Ran, ...]:
    """Return what each policy would have cost.

    Args:
        space: of cuts and codecs.
        trace: of link and loads.
        policies: of `POLICIES`; those that cannot be had are left out: an end that
            limits forbid, an input that is no image.
        objective: of every policy but ``p95``; costs are in it.
        pace: of requests.
        settings: of the controller.
        compressed_bytes: of the input as an image; None where it is none.
        progress: told the share that is done.

    Raises:
        UsageError: an unknown policy, or more requests than a million.
    """
    pace = pace or Pace()
    unknown = [each for each in policies if each not in POLICIES]
    if unknown or not policies:
        raise UsageError(
            f"policy {unknown[0]!r}" if unknown else "no policy",
            rule=f"known are {', '.join(POLICIES)}",
            where="trimtab.partition.replay",
            remedy="choose from these",
        )
    course = course_of(space, trace, pace, objective)
    optimum = course.expected_s.argmin(axis=1)
    least = paid(course, objective, optimum)
    found = []
    for number, name in enumerate(policies):
        progress(number / len(policies), name)
        ran: Ran | None
        if name in ADAPTIVE:
            ran = _adaptive(
                name, space, trace, course, objective, settings or Settings()
            )
        else:
            cuts = _fixed(name, space, course, optimum)
            ran = _constant(name, space, course, objective, cuts, compressed_bytes)
        if ran is not None:
            found.append(_judged(ran, trace, course, pace, least))
    progress(1.0, f"{len(course.at_s)} requests, {len(found)} policies")
    return tuple(found)


# Policies that know or never look


def _fixed(
    name: str, space: Space, course: Course, optimum: NDArray[np.intp]
) -> NDArray[np.intp] | None:
    """Return the cut of each request, or None where there is no such one."""
    if name == "optimum":
        return optimum
    if name == "static":
        one = int(course.expected_s.mean(axis=0).argmin())
    else:
        here = space.local if name == "edge" else space.positions == 0
        rows = np.flatnonzero(here)
        if not rows.size:
            return None
        raw = [int(each) for each in rows if space.codecs[each] == "raw"]
        one = raw[0] if raw else int(rows[0])
    return np.full(len(course.at_s), one, dtype=np.intp)


def _constant(
    name: str,
    space: Space,
    course: Course,
    objective: Objective,
    cuts: NDArray[np.intp] | None,
    compressed_bytes: float | None,
) -> Ran | None:
    if cuts is None or (name == "compressed" and compressed_bytes is None):
        return None
    sizes = space.sizes[cuts]
    if name == "compressed" and compressed_bytes is not None:
        rates = np.array([each.uplink_bytes_per_s for each in course.conditions])
        saved = (float(sizes[0]) - compressed_bytes) / rates[:, None]
        course = replace(
            course, link_s=course.link_s - saved, busy_s=course.busy_s - saved
        )
        sizes = np.full(len(cuts), compressed_bytes)
    positions = space.positions[cuts]
    return _ran(
        name,
        paid(course, objective, cuts),
        cut="" if name == "optimum" else space.name(int(cuts[0])),
        switches=int((positions[1:] != positions[:-1]).sum()),
        sent_bytes=float(sizes.sum()),
    )


# The controller


def _adaptive(
    name: str,
    space: Space,
    trace: Trace,
    course: Course,
    objective: Objective,
    settings: Settings,
) -> Ran:
    pause_s, changed = ADAPTIVE[name]
    first = Conditions(
        uplink_bytes_per_s=_UPLINK, rtt_s=course.conditions[0].rtt_s, fading=2.0
    )
    settings = replace(settings, **{"objective": objective, **changed})  # type: ignore[arg-type]
    control = Controller(space, first, settings)
    count = len(course.at_s)
    costs, sent, probed = np.zeros(count), 0.0, 0
    pinged, resumed = -_NEVER_S, 0.0
    probe: tuple[float, int, float] | None = None  # ends at, bytes, took
    for number, now in enumerate(course.at_s.tolist()):
        at = course.conditions[course.row[number]]
        if now - pinged >= _PING_S:
            pinged = now
            control.see_rtt(at.rtt_s * float(course.noise[1, number]), at_s=now)
        if probe is not None and probe[0] <= now:
            control.see_probe(probe[1], probe[2], at_s=probe[0])
            probe = None
        size = control.probe_due(now) if probe is None else 0
        if size:
            took = float(course.noise[1, number]) * probed_s(trace, now, size)
            probe, probed = (now + took, size, took), probed + size
        decision = control.decide(now)
        if decision.switched and pause_s:
            resumed = now + pause_s
        free = resumed
        if probe is not None and not space.local[decision.index]:
            free = max(free, probe[0])
        wait = max(0.0, free - now)
        seen, costs[number] = _asked(space, course, number, decision, objective, wait)
        sent += seen.sent_bytes
        known = now + seen.latency_s
        if number + 1 < count:
            known = min(known, float(course.at_s[number + 1]))
        control.see(decision, seen, at_s=known)
    return _ran(
        name, costs, switches=control.switches, sent_bytes=sent, probe_bytes=probed
    )


def _asked(
    space: Space,
    course: Course,
    number: int,
    decision: Decision,
    objective: Objective,
    wait_s: float,
) -> tuple[Seen, float]:
    """Return what a request shows, and its cost, after a wait.

    The wait counts for both: a link that is not free answers later.
    """
    at = (course.row[number], decision.index)
    edge, link, cloud = course.noise[:, number] * (
        course.edge_s[at], course.link_s[at], course.cloud_s[at]
    )  # fmt: skip
    busy = course.noise[1, number] * course.busy_s[at]
    away = not space.local[decision.index]
    remote = wait_s + link + cloud
    overtaken = False
    if away and space.local.any():
        _, said, tail = space.parts(decision.conditions)
        rest = float(said[decision.index] + tail[decision.index])
        alone = int(np.flatnonzero(space.local)[0])
        whole = course.noise[0, number] * course.edge_s[course.row[number], alone]
        hedged = max(_HEDGE_S, _HEDGE * rest) + max(0.0, float(whole - edge))
        overtaken = hedged < remote
        remote = min(remote, hedged)
    seen = Seen(
        edge_s=float(edge),
        sent_bytes=int(space.sizes[decision.index]),
        link_s=float(link) if away and not overtaken else None,
        cloud_s=float(cloud) if away and not overtaken else None,
        queue_s=0.0,
        latency_s=float(edge + remote),
        overtaken=overtaken,
    )
    if overtaken or objective in ("latency", "p95"):
        return seen, seen.latency_s
    cost = combined(objective, *(np.asarray(x) for x in (edge, link, busy, cloud)))
    return seen, wait_s + float(cost)


# What came of it


def _ran(
    name: str,
    costs: Floats,
    *,
    cut: str = "",
    switches: int = 0,
    sent_bytes: float = 0.0,
    probe_bytes: float = 0.0,
) -> Ran:
    return Ran(
        policy=name,
        cut=cut,
        mean_s=float(costs.mean()),
        p95_s=float(np.quantile(costs, 0.95)),
        ratio=1.0,
        switches=switches,
        sent_bytes=sent_bytes,
        probe_bytes=probe_bytes,
        late_frac=None,
        recovery_s=None,
        costs_s=costs,
    )


def _judged(ran: Ran, trace: Trace, course: Course, pace: Pace, least: Floats) -> Ran:
    late = None
    if pace.deadline_s is not None:
        late = float((ran.costs_s > pace.deadline_s).mean())
    return replace(
        ran,
        ratio=ran.mean_s / float(least.mean()),
        late_frac=late,
        recovery_s=recovery_s(trace, course, ran.costs_s, least),
    )
