"""A network that writes to its arguments is refused, with the place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.compiler.written import refuse_written_inputs
from trimtab.errors import CaptureError
from trimtab.graph.capture import capture

X = torch.zeros(2, 4)


def check(model: nn.Module, *args: Any, **keywords: Any) -> None:
    with refuse_written_inputs(model.eval(), "net"):
        capture(model, args, keywords)


class Call(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        x.mul_(2)
    return x * 2


def part(x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x * 2


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.add_(1),
        lambda x: x * x.view(-1)[1:].zero_().sum(),
        lambda x: x * torch.add(x, 1, out=x),
        lambda x: (x + 1).sum() + x.detach().copy_(x * 2),
        no_grad,
        part,
    ],
)
def test_a_written_input_is_refused(function: Any) -> None:
    with pytest.raises(CaptureError) as error:
        check(Call(function), X)
    assert str(error.value) == (
        "network 'net': it writes to its input 0 during the call, and kernels leave "
        "their inputs as they are (module 'the network itself'). Write out of place, "
        "without inplace=True, or to a copy: x.clone()."
    )


@pytest.mark.parametrize(
    "model",
    [
        Call(lambda x: x.clone().add_(1)),
        Call(lambda x: (x + 1).relu_()),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)),
        nn.LSTM(4, 4),
    ],
)
def test_what_is_written_is_the_networks_own(model: nn.Module) -> None:
    check(model, X)
    assert not any(
        each._forward_hooks or each._forward_pre_hooks for each in model.modules()
    )


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.inner = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))

    def forward(self, x: Tensor, *, more: dict[str, Tensor]) -> Tensor:
        return self.first(x) + self.inner(more["y"])


def test_the_module_and_the_argument_are_named() -> None:
    y = torch.zeros(2, 4)
    with pytest.raises(
        CaptureError, match=r"its argument 'more'\['y'\] .*\(module 'inner\.1'\)"
    ):
        check(Outer(), X, more={"y": y})


class Between(nn.Module):
    """It writes itself, before it calls another module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x.add_(1)
        return self.linear(x)


def test_a_module_is_not_blamed_for_its_caller() -> None:
    with pytest.raises(CaptureError, match="module 'the network itself'"):
        check(Between(), X)


def test_another_error_goes_first() -> None:
    def fails(x: Tensor) -> Tensor:
        x.add_(1)
        raise ValueError("no")

    with pytest.raises(CaptureError, match="ValueError: no"):
        check(Call(fails), X)


def test_calls_of_other_threads_do_not_count() -> None:
    model = Call(lambda x: x.add_(1)).eval()
    with ThreadPoolExecutor(1) as pool:
        with refuse_written_inputs(model, "net"):
            pool.submit(model, torch.zeros(2)).result()
        with pytest.raises(CaptureError), refuse_written_inputs(model, "net"):
            model(torch.zeros(2))
