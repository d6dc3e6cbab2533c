from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler import build as module
from trimtab.compiler.build import assess, build, known_values
from trimtab.compiler.groups import group
from trimtab.compiler.plan import plan
from trimtab.compiler.spaces.contraction import Point
from trimtab.compiler.target import target_for
from trimtab.compiler.tasks import Task
from trimtab.compiler.tune import rank
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Ref
from trimtab.hardware.load import machine
from trimtab.runtime.cache import Cache

MILAN = machine("milan")
TARGET = target_for(MILAN)


def _graph(module, *inputs):
    module.eval()
    graph = capture(module, inputs)
    return graph, weights_of(module, graph)


def test_known_values_follow_from_constants_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))

        def forward(self, x):
            scale = torch.arange(3, dtype=torch.float32) + 1.0
            return x @ (self.weight * scale).t() + x.sum()

    graph, weights = _graph(Net(), torch.zeros(2, 3))
    known = known_values(graph, weights)
    made = {node.name for node in graph.nodes if Ref(node.name) in known}
    assert {"arange", "add", "mul", "t"} <= made
    assert not made & {"matmul", "sum", "add_1"}


def test_equal_works_share_a_kernel_and_the_cache_is_used(tmp_path):
    module = nn.Sequential(*[nn.Linear(16, 16) for _ in range(3)])
    graph, weights = _graph(module, torch.zeros(2, 16))
    cache = Cache(tmp_path)
    told = []
    first = build(
        {2: graph}, weights, MILAN, TARGET, cache=cache,
        progress=lambda done, text: told.append(done),
    )  # fmt: skip
    assert len(first.tuned) == 1
    assert len(first.programs[2].steps) == 3
    assert told == sorted(told)
    second = build({2: graph}, weights, MILAN, TARGET, cache=cache)
    assert second.code == first.code
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(b"damaged")
    third = build({2: graph}, weights, MILAN, TARGET, cache=cache)
    assert third.code == first.code, "a damaged entry is made again"


def test_a_whole_static_prediction_sees_spills():
    module = nn.Conv2d(32, 32, 3, padding=1)
    graph, weights = _graph(module, torch.zeros(1, 32, 16, 16))
    built = build({1: graph}, weights, MILAN, TARGET)
    work = next(each for each in built.tuned if hasattr(each, "kernel"))
    good, spilled = assess(
        work,
        [Point(1, 4, 3, 8, "nghw"), Point(2, 7, 2, 8, "nghw")],
        MILAN,
        TARGET,
    )
    assert spilled > 1.3 * good


@pytest.mark.parametrize(
    ("changes", "tried"),
    [
        ({}, 1),  # the code is what the closed form meant
        ({"slower": 1.5}, 2),  # the next may keep what the closed form promises
        ({"objection": "3 accesses of spilled registers"}, 2),
    ],
)
def test_code_that_is_not_what_was_meant_is_compared_with_the_next(
    monkeypatch, changes, tried
):
    """The first candidate's code is made worse; the others are as they are."""
    seen: list[object] = []
    real = module._Tuner.candidate

    def candidate(self, work, key, ranking, place):
        found = real(self, work, key, ranking, place)
        if not hasattr(work, "kernel"):
            return found
        meant = max(ranking.limits(place).values())
        first = not seen
        seen.append(ranking.points[place])
        latency_s = meant * (changes.get("slower", 1.0) if first else 1.0)
        objection = changes.get("objection", "") if first else ""
        return replace(found, latency_s=latency_s, objection=objection)

    monkeypatch.setattr(module._Tuner, "candidate", candidate)
    net = nn.Conv2d(32, 32, 3, padding=1)
    graph, weights = _graph(net, torch.zeros(1, 32, 16, 16))
    built = build({1: graph}, weights, MILAN, TARGET, winograd=False)
    work = next(each for each in built.tuned if hasattr(each, "kernel"))
    assert len(seen) == tried
    assert built.tuned[work].chosen.point == seen[-1]
    assert len(built.tuned[work].rejected) == tried - 1


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("more", [nn.Identity(), nn.ReLU()])
def test_code_as_it_was_meant_takes_the_time_that_was_meant(channels, more):
    """What is around the loops counts once, whether the code computes there or not."""
    net = nn.Sequential(nn.Conv2d(channels, 96, 1, bias=False), more)
    graph, weights = _graph(net, torch.zeros(1, channels, 28, 28))
    planned = plan(graph, group(graph, known_values(graph, weights)), lanes=8)
    work = next(
        each.work
        for each in planned.tasks
        if isinstance(each, Task) and hasattr(each.work, "kernel")
    )
    point = Point(1, 4, 3, 8, "nghw")
    ranking = rank(work, MILAN, points=[point], cold=False)
    (read,) = assess(work, [point], MILAN, TARGET, cold=False)
    # The closed form rounds up what is around: half a dozen instructions a tile.
    assert 0.85 < read / float(ranking.latency_s[0]) < 1.02


def test_of_two_held_up_alike_the_clean_one_is_taken_in_either_order():
    def made(latency_s, objection):
        return SimpleNamespace(latency_s=latency_s, objection=objection)

    clean, spilled = made(1.0, ""), made(0.99, "3 accesses of spilled registers")
    assert module._price(clean) < module._price(spilled)
    faster = made(0.9, "3 accesses of spilled registers")
    assert module._price(faster) < module._price(clean)
