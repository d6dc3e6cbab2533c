"""Networks through ``torch.compile(backend="trimtab")`` are those of PyTorch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler import calls
from trimtab.compiler.calls import Calls
from trimtab.compiler.dynamo import backend
from trimtab.errors import MissingExtraError, UnknownMachineError, UsageError

WIDTH = 16
ROWS = 3


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield
    torch._dynamo.reset()


class Trace:
    """What became of the functions that Dynamo handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packed = self.compiled = self.eager = 0
        prepare, compile_, call = Calls._prepare, Calls._compile, Calls.__call__

        def preparing(this: Any, *arguments: Any) -> Any:
            found = prepare(this, *arguments)
            self.packed += found is not None
            return found

        def compiling(this: Any, *arguments: Any) -> Any:
            self.compiled += 1
            return compile_(this, *arguments)

        def calling(this: Any, *arguments: Any) -> Any:
            before = {id(each): each.calls for each in list(this._packed.values())}
            result = call(this, *arguments)
            after = {id(each): each.calls for each in list(this._packed.values())}
            self.eager += before == after
            return result

        monkeypatch.setattr(Calls, "_prepare", preparing)
        monkeypatch.setattr(Calls, "_compile", compiling)
        monkeypatch.setattr(Calls, "__call__", calling)


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    """Return counters of what is compiled and what PyTorch does."""
    return Trace(monkeypatch)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return ``text()``: all warnings of the backend so far."""

    def text() -> str:
        return "\n".join(
            record.getMessage()
            for record in caplog.records
            if record.levelno == logging.WARNING and record.name == calls.__name__
        )

    return text


def same(found: Any, expected: Any) -> None:
    """Compare results, at 1e-5 of the largest element of each tensor."""
    mine, mine_tree = pytree.tree_flatten(found)
    theirs, tree = pytree.tree_flatten(expected)
    assert mine_tree == tree
    for one, other in zip(mine, theirs, strict=True):
        assert type(one) is type(other)
        if not isinstance(one, Tensor):
            assert one == other
            continue
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.requires_grad == other.requires_grad
        assert one.stride() == other.stride()
        limit = 1e-5 * max(float(other.detach().abs().max()), 1e-30)
        torch.testing.assert_close(one, other, rtol=0.0, atol=limit)


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 8)).eval()


# ---------------------------------------------------------------- the entry point


def test_the_name_is_known_to_pytorch() -> None:
    (entry,) = importlib.metadata.entry_points(
        group="torch_dynamo_backends", name="trimtab"
    )
    assert entry.load() is backend
    assert "trimtab" in torch._dynamo.list_backends()


def test_by_name_with_options(trace: Trace) -> None:
    network, x = _mlp(), torch.randn(ROWS, WIDTH)
    fast = torch.compile(network, backend="trimtab", options={"threads": 2, "seed": 1})
    with torch.no_grad():
        same(fast(x), network(x))
    assert (trace.compiled, trace.eager) == (1, 0)


# ---------------------------------------------------------------- networks


class Mixed(nn.Module):
    """Convolution, normalisation, dropout, a tensor that is no parameter, a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3)
        self.norm = nn.BatchNorm2d(WIDTH)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(WIDTH, 2)
        self.shift = torch.ones(2)

    def forward(self, x: Tensor, scale: int = 2) -> dict[str, Any]:
        y = self.drop(torch.relu(self.norm(self.conv(x)))).mean((2, 3))
        y = self.last(y) * scale + self.shift + torch.tensor([1.0, 2.0])
        return {
            "result": y,
            "inner": [y + x.shape[0], (x,)],
            "number": len(x),
            "view": x.transpose(1, 2),
            "none": None,
        }


class Recurrent(nn.Module):
    """A recurrent layer between dense ones."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.layer = kind(WIDTH, WIDTH, batch_first=True)
        self.last = nn.Linear(WIDTH, 8)

    def forward(self, x: Tensor) -> Any:
        y, state = self.layer(torch.relu(self.first(x)))
        return torch.relu(self.last(y)), state


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mixed": (Mixed, lambda: torch.randn(2, 3, 6, 6)),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: torch.randn(2, 4, WIDTH)),
    "gru": (lambda: Recurrent(nn.GRU), lambda: torch.randn(2, 4, WIDTH)),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True),
        lambda: torch.randn(2, 4, WIDTH),
    ),
    "integers": (
        lambda: nn.Sequential(nn.Embedding(10, WIDTH), nn.Linear(WIDTH, 8)),
        lambda: torch.randint(10, (2, 4)),
    ),
    "float64": (lambda: nn.Linear(4, 4).double(), lambda: torch.randn(2, 4).double()),
    "float16": (lambda: nn.Linear(4, 4).half(), lambda: torch.randn(2, 4).half()),
    "training without effect": (lambda: _mlp().train(), lambda: torch.randn(2, WIDTH)),
}
NOT_COMPILED = {"float16": "no kernel could compute any of its operators (aten.linear"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name: str, trace: Trace, warnings: Callable[[], str]) -> None:
    make, example = NETWORKS[name]
    network, x = make(), example()
    if "training" not in name:
        network.eval()
    fast = torch.compile(network, backend=backend)
    with torch.no_grad():
        for _ in range(2):
            same(fast(x), network(x))
    if name in NOT_COMPILED:
        assert NOT_COMPILED[name] in warnings()
    else:
        assert (trace.compiled, trace.eager, warnings()) == (1, 0, "")


def test_a_function_of_tensors_and_numbers(trace: Trace) -> None:
    def function(x: Tensor, scale: float, *, more: int) -> tuple[Any, ...]:
        return torch.relu(x) * scale + more, scale * 2, more

    fast = torch.compile(function, backend=backend)
    x = torch.randn(4)
    for scale, more in ((0.5, 1), (0.7, 1), (0.7, 2), (-0.0, 3), (2.0, 3)):
        same(fast(x, scale, more=more), function(x, scale, more=more))
    assert trace.eager == 0


def test_batch_sizes_through_one_network(trace: Trace) -> None:
    network = _mlp()
    fast = torch.compile(network, backend=backend)
    with torch.inference_mode():
        for rows in (2, 5, 7, 5, 2, 1):
            x = torch.randn(rows, WIDTH)
            same(fast(x), network(x))
    # Dynamo makes a graph for 2 rows and then one for any number, which also gets 2.
    assert (trace.compiled, trace.eager) == (1 + 4, 0)


def test_dynamic_from_the_beginning(trace: Trace) -> None:
    network = _mlp()
    fast = torch.compile(network, backend=backend, dynamic=True)
    with torch.no_grad():
        for rows in (2, 5):
            x = torch.randn(rows, WIDTH)
            same(fast(x), network(x))
    assert (trace.compiled, trace.eager) == (2, 0)


def test_a_graph_break(trace: Trace) -> None:
    network = _mlp()

    def function(x: Tensor) -> Tensor:
        halves = torch.relu(network[0](x)).chunk(2, dim=-1)
        torch._dynamo.graph_break()
        halves[0].add_(1.0)
        found: Tensor = network[2](torch.cat(halves, dim=-1))
        return found

    x = torch.randn(ROWS, WIDTH)
    with torch.no_grad():
        same(torch.compile(function, backend=backend)(x), function(x))
    assert trace.compiled >= 1


def test_layers_that_look_alike_share_their_kernels(trace: Trace) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.layer(x))

    network = nn.Sequential(*(Block() for _ in range(4))).eval()
    x = torch.randn(ROWS, WIDTH)
    with torch.no_grad():
        expected = network(x)
        for layer in network:
            layer.compile(backend=backend)
        for _ in range(2):
            same(network(x), expected)
    assert (trace.compiled, trace.packed, trace.eager) == (1, 4, 0)


def test_other_memory_formats(trace: Trace) -> None:
    network = nn.Conv2d(3, WIDTH, 3).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = torch.compile(network, backend=backend)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        for each in (x, x.to(memory_format=torch.channels_last)):
            same(fast(each), network(each))
    assert trace.eager == 0


# ---------------------------------------------------------------- what is shared


def test_outputs_share_memory_as_they_do_in_pytorch(trace: Trace) -> None:
    layer = nn.Linear(WIDTH, WIDTH)

    def function(x: Tensor) -> tuple[Any, ...]:
        y = layer(x)
        left, right = y.chunk(2, dim=-1)
        return x.t(), left, right, y.t(), layer.weight, layer.weight.t(), x[1:]

    x = torch.randn(ROWS, WIDTH)
    with torch.no_grad():
        found = torch.compile(function, backend=backend)(x)
        same(found, function(x))
        assert found[4] is layer.weight
        for index, other in ((0, x), (6, x), (5, layer.weight)):
            assert found[index].data_ptr() - other.data_ptr() == (
                4 * WIDTH if index == 6 else 0
            )
        found[1].fill_(7.0)
        assert found[3][0].tolist() == [7.0] * ROWS
    assert trace.eager == 0


def test_what_writes_to_its_arguments_is_left_to_pytorch(
    trace: Trace, warnings: Callable[[], str]
) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        count: Tensor

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            x.mul_(2)
            return torch.relu(x) * self.count

    network = Counting().eval()
    fast = torch.compile(network, backend=backend)
    x = torch.ones(2)
    assert [fast(x).tolist() for _ in range(3)] == [[2.0] * 2, [8.0] * 2, [24.0] * 2]
    assert (network.count.item(), x[0].item()) == (3.0, 8.0)
    assert "writes to it (argument" in warnings()


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("keywords", [{"momentum": 0.9}, {"fused": True}])
def test_training_and_inference_in_turn(keywords: Any, trace: Trace) -> None:
    network, x = _mlp(), torch.randn(ROWS, WIDTH)
    fast = torch.compile(network, backend=backend)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, **keywords)
    results = []
    for _ in range(3):
        with torch.no_grad():
            for _ in range(2):
                found = fast(x)
                same(found, network(x))
        results.append(found)
        optimiser.zero_grad()
        fast(x).square().sum().backward()
        gradients = [each.grad for each in network.parameters()]
        optimiser.zero_grad()
        network(x).square().sum().backward()
        same(gradients, [each.grad for each in network.parameters()])
        optimiser.step()
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])
    assert (trace.compiled, trace.packed, trace.eager) == (1, 3, 3)


def test_dropout_in_training(warnings: Callable[[], str]) -> None:
    network = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5))
    fast = torch.compile(network, backend=backend)
    x = torch.ones(64, WIDTH)
    with torch.no_grad():
        kept = (fast(x) != 0).float().mean().item()
        assert 0.4 < kept < 0.6  # 1024 coins: five standard deviations are 0.08
        assert "operator 'aten.dropout.default' in training" in warnings()
        network.eval()
        same(fast(x), network(x))


def test_statistics_are_learned_in_training() -> None:
    network = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH))
    fast = torch.compile(network, backend=backend)
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        for _ in range(3):
            fast(torch.randn(8, WIDTH))
        assert norm.num_batches_tracked.item() == 3
        network.eval()
        x = torch.randn(8, WIDTH)
        same(fast(x), network(x))


# ---------------------------------------------------------------- settings


def test_options_are_checked() -> None:
    def reason(options: dict[str, Any], kind: type[Exception] = UsageError) -> str:
        with pytest.raises(kind) as error:
            backend(
                torch.fx.symbolic_trace(nn.ReLU()), [torch.ones(2)], options=options
            )
        return str(error.value)

    place = '(torch.compile(backend="trimtab")). Correct options={...}.'
    assert reason({"thread": 2}) == (
        "option 'thread' = 2: the backend trimtab takes cache, machine, seed, shapes, "
        f"threads, winograd {place}"
    )
    assert reason({"threads": "2"}) == (
        f"option 'threads' = '2': it is of type int {place}"
    )
    assert reason({"threads": True}) == (
        f"option 'threads' = True: it is of type int {place}"
    )
    assert reason({"threads": 0}) == f"option 'threads' = 0: it is at least 1 {place}"
    assert reason({"seed": -1}) == f"option 'seed' = -1: it is at least 0 {place}"
    assert reason({"machine": 1}) == (
        f"option 'machine' = 1: it is of type str or Machine {place}"
    )
    assert "machine 'nope'" in reason({"machine": "nope"}, UnknownMachineError)
    elsewhere = "graviton2" if platform.machine() == "x86_64" else "milan"
    assert reason({"machine": elsewhere}).endswith(
        f'this machine is {platform.machine()} (torch.compile(backend="trimtab")). '
        "Name a machine whose code runs here, or use trimtab.compile."
    )


def test_a_mode_is_ignored_with_a_message(caplog: pytest.LogCaptureFixture) -> None:
    def function(x: Tensor) -> Tensor:
        return torch.relu(x) * 2.0

    fast = torch.compile(function, backend=backend, mode="max-autotune")
    assert fast(torch.ones(2)).tolist() == [2.0] * 2
    assert "mode 'max-autotune' is not trimtab's, it is ignored" in caplog.text


def test_without_tvm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as error:
        backend(torch.fx.symbolic_trace(nn.ReLU()), [torch.ones(2)])
    assert str(error.value) == (
        "compiled kernels: they need the package apache-tvm, which is not installed "
        '(torch.compile(backend="trimtab")). Install the extra: pip install '
        "'trimtab[compile]'."
    )


def test_a_reset_of_dynamo_lets_reasons_be_said_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = nn.Linear(2, 2)
    for _ in range(2):
        torch.compile(layer, backend=backend)(torch.ones(1, 2))
        torch._dynamo.reset()
    assert caplog.text.count("it records gradients") == 2


def test_recurrent_layers_are_allowed_in_the_thread_that_asks_first() -> None:
    from trimtab.compiler.dynamo import _allow_recurrent

    config: Any = torch._dynamo.config
    found: list[bool] = []

    def ask(*decided: bool) -> None:
        for value in decided:
            config.allow_rnn = value
        _allow_recurrent()
        found.append(config.allow_rnn)

    for decided in ((), (False,), (True,)):
        thread = threading.Thread(target=ask, args=decided)
        thread.start()
        thread.join()
    # A new thread begins with PyTorch's defaults; False that was set stays.
    assert found[0] is True
    assert found[2] is True


def test_without_winograd_what_is_no_number_stays_a_pixel() -> None:
    module = nn.Conv2d(32, 64, 3, padding=1, bias=False).eval()
    x = torch.rand(1, 32, 28, 28)
    x[0, 3, 10, 11] = float("nan")
    options: dict[str, Any] = {"cache": False, "winograd": False}
    fast = torch.compile(module, backend="trimtab", options=options)
    with torch.no_grad():
        assert fast(x).isnan()[0, 0].sum() == 9
