"""What convolutions may become, and what is chosen."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.design.nets import IMAGE, residual
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.design import kernel_level as _kernel_level
from trimtab.design import kernel_level as module
from trimtab.design.analysis import windows_of
from trimtab.design.edits import Replace
from trimtab.design.kernel_level import Kernels, alternatives
from trimtab.design.layers import analyse
from trimtab.design.search import _replaceable
from trimtab.design.values import Judge, limits, within
from trimtab.design.variants import Variant, with_kernels
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine

choose: Any = _kernel_level.choose  # tests look into what it returns


JUDGE = Judge(machine("milan"), Roofline(), 1)


def kernels(shares, *counts, model=None):
    model = model or residual(*(counts or (1, 1)))
    graph = capture(model, (IMAGE,))
    bare = Variant(graph=graph, windows=windows_of(model))
    base = JUDGE.values(bare)
    return Kernels(
        bare=bare,
        modules=_replaceable(model, graph),
        judge=JUDGE,
        base=base,
        budget=limits(base, shares),
    )


def kinds(conv):
    return {each.kernel for each in alternatives("x", conv)}


def test_what_a_window_may_become():
    assert kinds(nn.Conv2d(8, 16, 3, padding=1)) == {
        "grouped", "depthwise-pointwise", "depthwise-grouped", "depthwise-sliding",
        "asymmetric", "resized", "dilated",
    }  # fmt: skip
    # A stride and a dilation do not go together.
    assert "dilated" not in kinds(nn.Conv2d(8, 8, 3, stride=2, padding=1))
    assert kinds(nn.Conv2d(8, 8, (1, 3), padding=(0, 1))) >= {"depthwise-pointwise"}
    assert "asymmetric" not in kinds(nn.Conv2d(8, 8, (1, 3), padding=(0, 1)))


def test_what_a_pointwise_convolution_may_become():
    assert kinds(nn.Conv2d(8, 16, 1)) == {"grouped", "sliding"}
    assert kinds(nn.Conv2d(8, 16, 1, stride=2)) == {"grouped"}


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding_mode="reflect"),
        nn.Conv2d(7, 7, 1),
    ],
)
def test_what_stays(conv):
    assert kinds(conv) == set()


def test_groups_divide_the_channels():
    found = alternatives("x", nn.Conv2d(12, 8, 1))
    assert {each.groups for each in found} == {2, 4}


@pytest.mark.parametrize("shares", [{"parameters": 0.5}, {"multiply_adds": 0.4}])
def test_limits_are_met_at_little_of_the_score(shares):
    """Depthwise and pointwise convolutions together are worth the dense one."""
    found = kernels(shares)
    designs = choose(found)
    allowed = [each for each in designs if within(found.budget, each.values)]
    assert allowed
    best = max(allowed, key=lambda each: each.values.score)
    assert best.values.score >= found.base.score - 0.03
    # What is said of it is so.
    variant = with_kernels(found.bare, best.edits[0])
    assert JUDGE.values(variant) == best.values


def test_no_single_change_of_the_best_is_better(monkeypatch):
    monkeypatch.setattr(module, "_SWAPS", 10_000)
    found = kernels({"parameters": 0.6})
    designs = choose(found)
    best = max(
        (each for each in designs if within(found.budget, each.values)),
        key=lambda each: each.values.score,
    )
    ((*edits,),) = best.edits
    chosen = {each.module: each for each in edits}
    before = analyse(found.bare.graph)
    for path, conv in found.modules.items():
        for edit in alternatives(path, conv):
            alone = module._judged(found, (edit,), before)
            if alone is None or not module._may(found, alone.values):
                continue
            tried = {**chosen, path: edit}
            made = module._judged(found, tuple(tried.values()), before)
            if made is not None and within(found.budget, made.values):
                assert made.values.score <= best.values.score + 1e-9, edit


def test_robust_edits_save_and_free_ones_may_widen():
    found = kernels({"parameters": 1.0, "multiply_adds": 1.0})
    for design in choose(found)[1:]:
        assert design.values.parameters <= found.base.parameters
    free = replace(found, robust=False)
    best = max(choose(free), key=lambda each: each.values.score)
    kinds = {edit.kernel for edits in best.edits for edit in edits}
    assert kinds & {"dilated", "resized", "asymmetric"}
    assert best.values.score > found.base.score


def test_channels_that_would_stay_apart_are_no_design():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
    )
    found = kernels({"parameters": 0.5}, model=net.eval())
    before = analyse(found.bare.graph)
    one, two = (Replace(module=path, kernel="grouped", groups=4) for path in ("1", "2"))
    assert module._judged(found, [one, two], before) is None
    assert module._judged(found, [one], before) is not None
    mixes = Replace(module="2", kernel="depthwise-pointwise")
    assert module._judged(found, [one, mixes], before) is not None


def test_a_field_must_not_shrink_below_the_image():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(7):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers).eval()  # 17 of 16 pixels
    found = kernels({"parameters": 0.9}, model=net)
    before = analyse(found.bare.graph)
    one = [Replace(module="2", kernel="resized", size=1)]
    assert module._judged(found, one, before) is None
    wide = nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1)).eval()
    found = kernels({"parameters": 0.9}, model=wide)  # 19: one window may go
    assert module._judged(found, one, analyse(found.bare.graph)) is not None


def test_even_windows_are_not_dilated():
    assert "dilated" not in kinds(nn.Conv2d(8, 8, 2))
    assert "dilated" in kinds(nn.Conv2d(8, 8, 3, padding=1))


def test_what_has_hooks_stays():
    model = residual(1, 1)
    model.stages[0][0].a.register_forward_hook(lambda *given: None)
    graph = capture(model, (IMAGE,))
    found = _replaceable(model, graph)
    assert "stages.0.0.a" not in found
    assert "stages.0.0.b" in found
    assert "stem.0" not in found  # the first convolution
