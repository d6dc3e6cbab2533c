"""Stages one after another."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from trimtab.bundle.stage import Context, StageResult
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.errors import PlanError
from trimtab.hardware.load import machine
from trimtab.pipeline.bought import START
from trimtab.pipeline.going import Going, Watched, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    add: float = 1.0


class Adding:
    """Adds to every weight, and counts how often it was asked."""

    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("seed",)

    def __init__(self):
        self.asked = 0

    def run(self, context, settings):
        self.asked += 1
        network = nn.Linear(3, 3).eval()
        with torch.no_grad():
            for mine, old in zip(
                network.parameters(), context.network.parameters(), strict=True
            ):
                mine.copy_(old + settings.add)
        return StageResult(
            network=network,
            summary=f"drawn {torch.rand(()):.6f}",
            values={"accuracy_frac": 0.5},
            files={"note": b"x"},
        )


class Reading(Adding):
    """Reads what it does not say it reads."""

    def run(self, context, settings):
        return StageResult(network=context.network, summary=str(context.budget))


class Passing(Adding):
    """Observes something that does not last."""

    def run(self, context, settings):
        self.asked += 1
        return StageResult(network=context.network, summary="", lasting=False)


@pytest.fixture
def going(tmp_path):
    def make(**options):
        torch.manual_seed(0)
        context = Context(
            name="n", network=nn.Linear(3, 3).eval(), inputs=(torch.ones(1, 3),),
            keywords={}, data=None, machine=machine("milan"), threads=1,
            latency=Roofline(), budget=Budget(accuracy_frac=0.6), seed=0,
            folder=tmp_path, progress=lambda done, text: None,
        )  # fmt: skip
        told = []
        parts = {"decides": None, "kept": True, "again": None, **options}
        made = Going(context=context, progress=lambda *each: told.append(each), **parts)
        made.told = told  # type: ignore[attr-defined]
        return made

    return make


def test_what_is_kept_is_taken_and_leads_to_the_same(going):
    first, second, stage = going(), going(), Adding()
    for run in (first, second):
        run.do("one", stage, Settings())
        run.do("two", stage, Settings())
    assert stage.asked == 2
    assert [each.kept for each in second.results] == [True, True]
    assert second.seen.digest == first.seen.digest
    assert second.stands == first.stands
    assert [each.stage for each in first.stands] == [START, "one", "two"]
    assert first.stands[1].judged() == "over: accuracy_frac"
    assert second.context.files == {"note": b"x"}
    assert ("one", 1.0, f"kept: {second.results[0].result.summary}") in second.told


def test_what_is_drawn_does_not_depend_on_what_was_taken(going):
    whole, stage = going(kept=False), Adding()
    for name in ("one", "two"):
        whole.do(name, stage, Settings())
    first, second = going(), going()
    first.do("one", stage, Settings())
    for name in ("one", "two"):
        second.do(name, stage, Settings())
    assert [each.result.summary for each in second.results] == [
        each.result.summary for each in whole.results
    ]


def test_a_changed_setting_concerns_that_stage_and_those_behind_it(going):
    stage = Adding()
    for settings, expected in (
        ((1.0, 1.0, 1.0), [False, False, False]),
        ((1.0, 2.0, 1.0), [True, False, False]),
        ((1.0, 1.0, 3.0), [True, True, False]),
        ((1.0, 2.0, 1.0), [True, True, True]),
    ):
        run = going()
        for name, add in zip(("one", "two", "three"), settings, strict=True):
            run.do(name, stage, Settings(add=add))
        assert [each.kept for each in run.results] == expected


def test_from_a_stage_on_nothing_is_taken(going):
    stage = Adding()
    for again, expected in ((None, [False] * 3), ("two", [True, False, False])):
        run = going(again=again)
        for name in ("one", "two", "three"):
            run.do(name, stage, Settings())
        assert [each.kept for each in run.results] == expected


def test_what_must_be_taken_and_is_not_there_is_named(going):
    run = going(again="two")
    with pytest.raises(PlanError, match=r"what \[one\] before it leads to is not kept"):
        run.do("one", Adding(), Settings())


def test_without_the_cache_nothing_is_kept(going):
    stage = Adding()
    for _ in range(2):
        run = going(kept=False)
        run.do("one", stage, Settings())
    assert stage.asked == 2


def test_what_does_not_last_is_done_again(going):
    stage = Passing()
    for _ in range(2):
        going().do("one", stage, Settings())
    assert stage.asked == 2


def test_a_stage_that_reads_more_than_it_says_is_found_out(going):
    with pytest.raises(AssertionError, match="does not say it reads budget"):
        going().do("one", Reading(), Settings())
    context = going().context
    watched = Watched(replace(context, seed=7), "x", ("seed",))
    assert (watched.seed, watched.name) == (7, "n")


def test_a_sentence_has_both_halves():
    result = StageResult(network=nn.Identity(), summary="a", observed_summary="b")
    assert sentence(result) == "a; b"
    assert sentence(replace(result, observed_summary="")) == "a"
