"""Networks with operators that no family computes."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler import build as building
from trimtab.compiler import defaults
from trimtab.compiler.compile import compile as compile_module
from trimtab.compiler.compile import prepare
from trimtab.compiler.defaults import defaults_of
from trimtab.compiler.fallback import operator_of
from trimtab.compiler.model import timing_of
from trimtab.compiler.target import target_for
from trimtab.errors import ExecutionError
from trimtab.frozen import FrozenDict
from trimtab.graph.types import Node, Ref, TensorType
from trimtab.hardware.load import machine
from trimtab.runtime.cache import Cache
from trimtab.runtime.program import Call, Fallback

MACHINE = machine("milan")
TIMING = timing_of(MACHINE)
TARGET = target_for(MACHINE)


def _operator(op, kind, result, **arguments):
    node = Node(
        name="n", op=op, outputs=(result,),
        arguments=FrozenDict({"self": Ref("x"), **arguments}),
    )  # fmt: skip
    return operator_of(node, {Ref("x"): kind})


SMALL = TensorType((4, 5), "float32")
FLIP = _operator("aten.flip.default", SMALL, SMALL, dims=(0,))
SORT = _operator("aten.argsort.default", SMALL, TensorType((4, 5), "int64"))
WIDE = TensorType((1024, 1024), "float32")
SINE = _operator("aten.sin.default", WIDE, WIDE)


def test_each_gets_a_kernel_or_a_reason():
    found = defaults_of([FLIP, SORT, SINE, FLIP], MACHINE, TIMING, TARGET)
    assert list(found) == [FLIP, SORT, SINE]
    assert found[FLIP].function.startswith("default_")
    assert found[FLIP].parameter_bytes == (4 * 5 * 4, 4 * 5 * 4)
    assert found[FLIP].code.startswith(b"\x7fELF")
    assert found[FLIP].reason == ""
    assert found[SORT].function == ""
    assert found[SORT].reason == "there is no formula for aten.sort.default"
    assert found[SINE].function == ""
    assert found[SINE].reason.startswith("a default schedule would take ")


def test_results_are_kept(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    first = defaults_of([FLIP, SORT], MACHINE, TIMING, TARGET, cache=cache)

    def never(*_: object, **__: object) -> str:
        raise AssertionError("it was made again")

    monkeypatch.setattr(defaults, "default_kernel", never)
    assert defaults_of([FLIP, SORT], MACHINE, TIMING, TARGET, cache=cache) == first


def test_what_tvm_cannot_compile_is_left_to_pytorch(monkeypatch, caplog):
    def fails(*_: object) -> None:
        raise RuntimeError("first line\nno such instruction")

    monkeypatch.setattr(defaults, "compile_functions", fails)
    with caplog.at_level(logging.WARNING):
        found = defaults_of([FLIP], MACHINE, TIMING, TARGET)[FLIP]
    assert (found.function, found.reason) == ("", "TVM: no such instruction")
    assert "aten.flip.default" in caplog.text


class Mixed(nn.Module):
    """Families, default schedules, a constant they read, and PyTorch."""

    order: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("order", torch.tensor([2, 0, 1, 3, 7, 6, 5, 4]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.conv(x).relu()
        y = nn.functional.interpolate(y, scale_factor=2.0, mode="nearest")
        y = y.index_select(1, self.order)
        mask = (y > 0.5).logical_and(y < 2.0)
        best = y.flatten(2).argmax(-1)
        first = torch.sort(y.flatten(2), -1)[0][..., :3]
        return torch.roll(y, 3, -1) * 2.0, mask, best, first


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.mark.parametrize("threads", [1, 2])
def test_networks_mix_all_kinds(mixed, threads):
    x = torch.randn(2, 3, 10, 12)
    fast = compile_module(mixed, (x,), threads=threads)
    with torch.inference_mode():
        for found, expected in zip(fast(x), mixed(x), strict=True):
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_steps_and_report_say_who_does_what(mixed):
    made = prepare(mixed, (torch.randn(2, 3, 10, 12),), machine="milan", cache=False)
    (program,) = made.built.programs.values()
    calls = [each for each in program.steps if isinstance(each, Call)]
    others = [each for each in program.steps if isinstance(each, Fallback)]
    assert len(others) == 1  # sort
    assert sum(each.function.startswith("default_") for each in calls) >= 4
    report = made.report
    by_family: dict[str, set[str]] = {}
    for task in report["tasks"]:
        by_family.setdefault(task["family"], set()).add(task["op"])
    assert by_family["PyTorch"] == {"aten.sort.default"}
    assert {"aten.upsample_nearest2d.vec", "aten.index_select.default"} <= by_family[
        "default schedule"
    ]
    assert all(task["latency_s"] > 0 for task in report["tasks"])
    assert report["latency_s"] == pytest.approx(
        sum(task["latency_s"] for task in report["tasks"])
    )


def test_libraries_without_a_linker_have_them_too(mixed, monkeypatch):
    monkeypatch.setattr(building, "find_linker", lambda triple: None)
    x = torch.randn(2, 3, 10, 12)
    fast = compile_module(mixed, (x,))
    with torch.inference_mode():
        for found, expected in zip(fast(x), mixed(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_wrong_places_are_an_error(mixed):
    class Picks(nn.Module):
        def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return x.index_select(0, places)

    x = torch.randn(4, 3)
    fast = compile_module(Picks().eval(), (x, torch.tensor([0, 3])))
    assert torch.equal(fast(x, torch.tensor([1, 2])), x[1:3])
    with pytest.raises(ExecutionError, match=r"a place is not in 0\.\.3"):
        fast(x, torch.tensor([0, 4]))
    assert torch.equal(fast(x, torch.tensor([3, 3])), x[[3, 3]])
