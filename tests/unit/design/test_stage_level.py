"""The organizer against all vectors of counts."""

import itertools

import pytest
from tests.unit.design.nets import IMAGE, residual

from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.design import stage_level as module
from trimtab.design.analysis import windows_of
from trimtab.design.blocks import blocks_of
from trimtab.design.stage_level import Organizer, organize
from trimtab.design.values import Judge, limits, within
from trimtab.design.variants import Variant
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine

JUDGE = Judge(machine("milan"), Roofline(), 1)


def organizer(*counts, robust=True, shares=None, budget=None):
    model = residual(*counts)
    graph = capture(model, (IMAGE,))
    bare = Variant(graph=graph, windows=windows_of(model))
    base = JUDGE.values(bare)
    return Organizer(
        bare=bare,
        groups=blocks_of(model, graph),
        fixed=frozenset({0}),  # the first stage has blocks of one kind only
        judge=JUDGE,
        base=base,
        budget=budget or limits(base, shares or {}),
        robust=robust,
    )


def best(found, designs):
    return max(
        (
            each
            for each in designs
            if within(found.budget, each.values) and found.keeps(each.values)
        ),
        key=lambda each: each.values.score,
    )


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("shares", [{"multiply_adds": 1.0}, {"parameters": 1.2}])
def test_the_best_of_all_vectors_is_found(robust, shares):
    found = organizer(2, 2, robust=robust, shares=shares)
    if not robust:
        assert [len(each) for each in found.ranges()] == [8, 5]
    every = [
        found.judge.values(found.variant(counts))
        for counts in itertools.product(*found.ranges())
    ]
    allowed = [
        each for each in every if within(found.budget, each) and found.keeps(each)
    ]
    expected = max(each.score for each in allowed)
    assert best(found, organize(found)).values.score == expected


def test_a_large_space_is_followed_along_its_best(monkeypatch):
    found = organizer(2, 2, 2, robust=False, shares={"multiply_adds": 1.1})
    whole = best(found, organize(found)).values.score
    monkeypatch.setattr(module, "_WHOLE", 0)
    some = organize(found)
    assert best(found, some).values.score == pytest.approx(whole)


def test_a_robust_design_changes_a_stage_by_half_or_two():
    found = organizer(2, 7)
    assert found.counts == (2, 6)
    assert found.ranges() == [range(1, 5), range(3, 10)]


def test_costs_add_up_so_what_is_too_dear_is_never_judged(monkeypatch):
    found = organizer(2, 2, shares={"multiply_adds": 1.0})
    seen = []
    real = Organizer.variant
    monkeypatch.setattr(
        Organizer,
        "variant",
        lambda self, counts: seen.append(counts) or real(self, counts),  # type: ignore[func-returns-value]
    )
    designs = organize(found)
    assert len(designs) < len(list(itertools.product(*found.ranges())))
    probes = len(found.groups)
    assert len(seen) <= len(designs) + probes


def test_a_network_without_blocks_stays():
    found = organizer(1, 1)
    assert [group.container for group in found.groups] == ["stages.0"]
    none = Organizer(
        bare=found.bare, groups=(), fixed=frozenset(), judge=JUDGE,
        base=found.base, budget=Budget(),
    )  # fmt: skip
    (only,) = organize(none)
    assert only.edits == ((),)
