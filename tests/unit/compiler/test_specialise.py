"""Kernels for one set of shapes, with any weights of these shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.specialise import Specialised, specialise
from trimtab.errors import CaptureError
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine

BATCH, WIDTH = 3, 16
NAMES = {0: "weight", 2: "bias"}


@pytest.fixture(scope="module")
def machine() -> Machine:
    return find_machine("this")


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def dense(weight: Tensor, x: Tensor, bias: Tensor, scale: float) -> tuple[Any, ...]:
    """Weights and inputs are mixed, and one output is a view of an input."""
    return torch.relu(F.linear(x, weight, bias)) * scale, x.t()


def _weights() -> tuple[Tensor, Tensor]:
    return torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)


def _expected(weight: Tensor, x: Tensor, bias: Tensor, scale: float) -> Tensor:
    found: Tensor = dense(weight.double(), x.double(), bias.double(), scale)[0]
    return found.float()


def test_weights_are_constants_and_are_packed_again(machine: Machine) -> None:
    x, (weight, bias) = torch.randn(BATCH, WIDTH), _weights()
    whole, executor = specialise(
        dense, [weight, x, bias, 0.5], NAMES, machine=machine, name="dense"
    )
    assert isinstance(whole, Specialised)
    assert whole.graph.name == "dense"
    assert sorted(constant.target for constant in whole.graph.tensors) == [
        "bias",
        "weight",
    ]
    assert whole.outputs.computed == (0,)
    (found,) = executor.run([x])
    torch.testing.assert_close(found, _expected(weight, x, bias, 0.5))
    for _ in range(2):
        other, more = _weights()
        again = whole.pack([other, more])
        assert again is not None
        torch.testing.assert_close(again.run([x])[0], _expected(other, x, more, 0.5))
    # The first ones were copied.
    weight.zero_()
    assert torch.equal(executor.run([x])[0], found)


def test_in_inference_mode_it_is_the_same(machine: Machine) -> None:
    weight, bias = _weights()
    with torch.inference_mode():
        x = torch.randn(BATCH, WIDTH)
        arguments = [weight, x, bias, 0.5]
        whole, executor = specialise(dense, arguments, NAMES, machine=machine)
        again = whole.pack([weight, bias])
        assert again is not None
        expected = _expected(weight, x, bias, 0.5)
        for each in (executor, again):
            torch.testing.assert_close(each.run([x])[0], expected)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: (x.half() * 2,),
            "graph 'function': no kernel could compute any of its operators "
            "(aten.mul.Tensor, aten.to.dtype). Nothing is lost: PyTorch computes them.",
        ),
        (
            lambda x: (x.t(),),
            "function 'function': it hands out its arguments, or views of them, and "
            "there is nothing to compute. Nothing is lost: PyTorch does that.",
        ),
        (lambda x: (x.zero_(),), "aten.zero_.default writes to it (argument 0)"),
        (lambda x: (F.dropout(x),), "operator 'aten.dropout.default' in training"),
        (lambda x: (x[x > 0],), "its result depends on values"),
    ],
)
def test_what_cannot_be_kernels_is_refused(
    function: Any, message: str, machine: Machine
) -> None:
    with pytest.raises(CaptureError) as error:
        specialise(function, [torch.ones(BATCH, WIDTH)], {}, machine=machine)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("side", "fewer", "threads"), [(8, True, 1), (8, False, 2), (512, True, 2)]
)
def test_what_is_small_takes_one_thread(
    side: int, fewer: bool, threads: int, machine: Machine
) -> None:
    # 512 x 512 x 512: 2 * 2**27 flops take milliseconds, 8 x 8 x 8 a microsecond.
    weight, x = torch.randn(side, side), torch.randn(side, side)
    whole, executor = specialise(
        lambda weight, x: (x @ weight,),
        [weight, x],
        {0: "weight"},
        machine=machine,
        threads=2,
        fewer=fewer,
    )
    assert whole.target.threads == threads
    torch.testing.assert_close(executor.run([x])[0], x @ weight, rtol=1e-4, atol=1e-4)


def test_weights_that_take_other_kernels_are_none_and_mistakes_are_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, bias = _weights()
    arguments = [weight, torch.randn(BATCH, WIDTH), bias, 0.5]
    whole, _ = specialise(dense, arguments, NAMES, machine=machine)

    def fails(*_: Any) -> Any:
        raise KeyError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr("trimtab.compiler.specialise.emit", fails)
        with pytest.raises(KeyError, match="a mistake of ours"):
            whole.pack([weight, bias])
    monkeypatch.setattr(whole, "_chosen", {})
    assert whole.pack([weight, bias]) is None
