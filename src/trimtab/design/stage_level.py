"""The stage-level organizer: how many blocks each stage has.

Blocks that are built alike are left out or repeated, group by group, so that the score
rises and every limit is kept. What a block costs adds up, so that vectors of counts
which break a limit are left out before any field is worked out; the score of the others
is that of their graph. Small spaces are searched whole, large ones along the best.

After the stage-level organizer of arXiv 2009.05236, of which no algorithm is known. The
search and the guard rails are ours: no design has more layers in line without a
shortcut; a robust one loses at no exponent of the mean over stages, and changes no
group by more than half of its blocks, or two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from trimtab.cost.verdict import Budget
from trimtab.design.blocks import Group
from trimtab.design.edits import Remove, Repeat
from trimtab.design.values import Design, Judge, Values, excess, keeps
from trimtab.design.variants import Variant, with_blocks

__all__ = ["Organizer", "organize"]

_WHOLE = 400  # vectors that are judged one by one
_BEAM = 12  # of larger spaces so many are followed
_STEPS = 12  # at most, from the network as it is
_JUDGED = 32  # a step, of those that single moves promise most for
_MOST_TIMES = 4  # blocks that a group may have at most, in times of what it has

Progress = Callable[[float, str], None]
Counts = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Organizer:
    """What is organized.

    Attributes:
        bare: the graph of the network.
        groups: its movable blocks.
        fixed: groups whose container has nothing else: one block stays.
        judge: of graphs.
        base: of the network.
        budget: limits in absolute numbers.
        robust: whether the guard rails hold.
        replaced: groups of blocks with kernels that an edit made; a robust design has
            no more of them. Such a block sees what the one before saw and sums less,
            which the score does not tell: more of them is what it would ask for.
    """

    bare: Variant
    groups: tuple[Group, ...]
    fixed: frozenset[int]
    judge: Judge
    base: Values
    budget: Budget
    robust: bool = True
    replaced: frozenset[int] = frozenset()

    @property
    def counts(self) -> Counts:
        """Blocks of each group, as they are."""
        return tuple(len(each.blocks) for each in self.groups)

    def edits(self, counts: Counts) -> tuple[Remove | Repeat, ...]:
        """Return the edits that give each group so many blocks."""
        found: list[Remove | Repeat] = []
        for group, count in zip(self.groups, counts, strict=True):
            have = len(group.blocks)
            found += [Remove(modules=each.paths) for each in group.blocks[count:]]
            if count > have:
                last = group.blocks[-1]
                found.append(Repeat(modules=last.paths, times=count - have))
        return tuple(found)

    def variant(self, counts: Counts) -> Variant:
        """Return the graph with so many blocks in each group."""
        times: dict[tuple[str, ...], int] = {}
        for group, count in zip(self.groups, counts, strict=True):
            have = len(group.blocks)
            for each in group.blocks[count:]:
                times[each.nodes] = 0
            if count > have:
                times[group.blocks[-1].nodes] = 1 + count - have
        return with_blocks(self.bare, times)

    def ranges(self) -> list[range]:
        """Return the counts that each group may have."""
        found = []
        for number, have in enumerate(self.counts):
            least = 1 if number in self.fixed else 0
            most = _MOST_TIMES * have
            if self.robust:
                step = max(2, have // 2)
                least, most = max(least, have - step), min(most, have + step)
                if number in self.replaced:
                    most = have
            found.append(range(least, most + 1))
        return found

    def keeps(self, values: Values) -> bool:
        """Whether a design may be offered, whatever it costs."""
        return keeps(values, self.base, robust=self.robust)


def organize(
    organizer: Organizer, progress: Progress = lambda done, text: None
) -> list[Design]:
    """Return the designs that were judged, those that break limits among them.

    Args:
        organizer: what is organized.
        progress: told the share that is done.
    """
    seen: dict[Counts, Design] = {}
    costs = _costs(organizer)

    def judge(counts: Counts) -> Design:
        if counts not in seen:
            seen[counts] = Design(
                edits=(organizer.edits(counts),),
                values=organizer.judge.values(organizer.variant(counts)),
            )
        return seen[counts]

    judge(organizer.counts)
    ranges = organizer.ranges()
    if not ranges:
        return list(seen.values())
    size = math.prod(map(len, ranges))
    if size <= _WHOLE:
        every = [
            counts
            for counts in itertools.product(*ranges)
            if _may_fit(organizer, counts, costs)
        ]
        if not every:  # then the nearest is told
            every = sorted(
                itertools.product(*ranges),
                key=lambda counts: (_over(organizer, counts, costs), counts),
            )[:1]
        for number, counts in enumerate(every):
            judge(counts)
            progress((number + 1) / len(every), "stages")
        return list(seen.values())
    gains = _gains(organizer, judge)
    beam = [organizer.counts]
    for step in range(_STEPS):
        near = {
            counts
            for each in beam
            for counts in _neighbours(each, ranges)
            if counts not in seen
        }
        # Towards the limits first: what breaks them more than now leads nowhere.
        worst = max(_over(organizer, each, costs) for each in beam)
        near = {
            each for each in near if _over(organizer, each, costs) <= max(worst, 0.0)
        }
        if not near:
            break
        promising = sorted(near, key=lambda each: (
            max(0.0, _over(organizer, each, costs)), -_promised(organizer, each, gains),
            each,
        ))[:_JUDGED]  # fmt: skip
        for number, counts in enumerate(promising):
            judge(counts)
            progress((step + (number + 1) / len(promising)) / _STEPS, "stages")

        def rank(counts: Counts) -> tuple[float, float]:
            values = seen[counts].values
            return (
                excess(organizer.budget, values),
                -values.score if organizer.keeps(values) else -values.score + 1e3,
            )

        beam = sorted(seen, key=rank)[:_BEAM]
    return list(seen.values())


def _costs(organizer: Organizer) -> list[Mapping[str, float]]:
    """Return what one more block of each group costs."""
    base = organizer.base.as_dict()
    found: list[Mapping[str, float]] = []
    for number, have in enumerate(organizer.counts):
        counts = tuple(
            each + (index == number) for index, each in enumerate(organizer.counts)
        )
        assert have > 0
        more = organizer.judge.values(organizer.variant(counts)).as_dict()
        found.append({name: more[name] - base[name] for name in base})
    return found


def _gains(
    organizer: Organizer, judge: Callable[[Counts], Design]
) -> list[tuple[float, float]]:
    """Return what one block less and one more of each group change of the score."""
    found = []
    for number, allowed in enumerate(organizer.ranges()):
        change = [-math.inf, -math.inf]
        for side, step in enumerate((-1, 1)):
            counts = tuple(
                each + step * (index == number)
                for index, each in enumerate(organizer.counts)
            )
            if counts[number] in allowed:
                change[side] = judge(counts).values.score - organizer.base.score
        found.append((change[0], change[1]))
    return found


def _promised(
    organizer: Organizer, counts: Counts, gains: Sequence[tuple[float, float]]
) -> float:
    """Return the change of the score if that of single blocks added up."""
    return sum(
        abs(now - was) * gain[now > was]
        for now, was, gain in zip(counts, organizer.counts, gains, strict=True)
        if now != was
    )


def _over(
    organizer: Organizer, counts: Counts, costs: Sequence[Mapping[str, float]]
) -> float:
    """Return the largest share by which a limit would be exceeded."""
    base = organizer.base.as_dict()
    values = {
        name: base[name]
        + sum(
            (now - was) * cost[name]
            for now, was, cost in zip(counts, organizer.counts, costs, strict=True)
        )
        for name in base
    }
    return max(
        (each.value / each.limit - 1 for each in organizer.budget.judge(values)),
        default=0.0,
    )


def _may_fit(
    organizer: Organizer, counts: Counts, costs: Sequence[Mapping[str, float]]
) -> bool:
    return _over(organizer, counts, costs) <= 1e-9


def _neighbours(counts: Counts, ranges: Sequence[range]) -> Iterator[Counts]:
    """Yield vectors one block away: one more, one less, or one moved."""
    places = range(len(counts))
    for one, two in itertools.product([*places, None], [*places, None]):
        if one == two:
            continue
        made = list(counts)
        if one is not None:
            made[one] -= 1
        if two is not None:
            made[two] += 1
        if all(count in allowed for count, allowed in zip(made, ranges, strict=True)):
            yield tuple(made)
