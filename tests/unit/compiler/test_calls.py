"""Which calls of a function kernels do, and which PyTorch."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler import calls as calls_module
from trimtab.compiler.calls import Calls, Settings, forget_reasons
from trimtab.hardware.load import machine as find_machine

WIDTH = 16
SAYS = "test runs through PyTorch: "


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMTAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return ``take()``: what was warned of since the last time."""
    forget_reasons()

    def take() -> list[str]:
        found = [
            record.getMessage().removeprefix(SAYS)
            for record in caplog.records
            if record.levelno == logging.WARNING
        ]
        caplog.clear()
        return found

    return take


class Counted:
    """A function of Dynamo's kind, and how often PyTorch did it."""

    def __init__(
        self,
        function: Callable[..., Any],
        examples: Sequence[Any],
        weights: Sequence[str] = (),
        *,
        shapes: int = 8,
    ) -> None:
        module = fx.symbolic_trace(function)
        for node in module.graph.find_nodes(op="placeholder"):
            if node.name in weights:
                node.meta["tensor_dict"] = {"_dynamo_static_input_type": "unguarded"}
        settings = Settings(
            machine=find_machine("this"),
            threads=1,
            fewer=True,
            seed=0,
            cache=True,
            shapes=shapes,
        )
        self.calls = Calls(module, settings, "test")
        self.eager = 0
        self.compiled = 0
        original, compile_ = self.calls._eager, self.calls._compile

        def eager(*arguments: Any) -> Any:
            self.eager += 1
            return original(*arguments)

        def compiling(arguments: Any) -> Any:
            self.compiled += 1
            return compile_(arguments)

        self.calls._eager = eager
        self.calls._compile = compiling  # type: ignore[method-assign]
        self.possible = self.calls.sort(examples)

    def __call__(self, *arguments: Any) -> Any:
        return self.calls(*arguments)

    def counts(self) -> tuple[int, int]:
        """Return how often it was compiled, and how often PyTorch did a call."""
        return self.compiled, self.eager


def scaled(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.relu(x) * 2.0,)


def dense(weight: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.relu(x @ weight),)


def _dense(**keywords: Any) -> tuple[Counted, nn.Parameter, Tensor]:
    weight = nn.Parameter(torch.randn(WIDTH, WIDTH))
    x = torch.randn(3, WIDTH)
    return Counted(dense, [weight, x], ["weight"], **keywords), weight, x


def test_a_shape_is_compiled_once() -> None:
    function = Counted(scaled, [torch.zeros(4)])
    for _ in range(3):
        x = torch.randn(4)
        (found,) = function(x)
        assert torch.equal(found, scaled(x)[0])
    assert function.counts() == (1, 0)
    x = torch.randn(5)
    assert torch.equal(function(x)[0], scaled(x)[0])
    x = torch.randn(8)[::2]  # other strides
    assert torch.equal(function(x)[0], scaled(x)[0])
    assert function.counts() == (3, 0)


@torch.no_grad()
def test_weights_are_packed_again_when_they_change() -> None:
    function, weight, x = _dense()
    for _ in range(3):
        for _ in range(2):
            torch.testing.assert_close(function(weight, x), dense(weight, x))
        weight.add_(1.0)
    # The same kernels serve any weights, as those of layers that look alike.
    for other in (torch.randn(WIDTH, WIDTH), torch.randn(WIDTH, WIDTH), weight):
        torch.testing.assert_close(function(other, x), dense(other, x))
    assert function.counts() == (1, 0)


@torch.no_grad()
def test_weights_that_change_with_every_call_are_not_packed(
    warnings: Callable[[], list[str]],
) -> None:
    function, weight, x = _dense()
    function(weight, x)
    for _ in range(3):
        weight.add_(1.0)
        torch.testing.assert_close(function(weight, x), dense(weight, x))
    assert function.counts() == (1, 3)
    assert warnings() == [
        "its weights change with almost every call; they are packed when they come "
        "unchanged for the second time"
    ]
    for _ in range(3):
        torch.testing.assert_close(function(weight, x), dense(weight, x))
    assert function.counts() == (1, 3)


@torch.no_grad()
def test_nothing_is_kept_of_weights_that_are_gone() -> None:
    function, weight, x = _dense()
    function(weight, x)
    (packed,) = function.calls._packed.values()
    memory = weakref.ref(packed.executor)
    del packed, weight
    gc.collect()
    assert memory() is None
    assert not function.calls._packed


def test_gradients_are_left_to_pytorch(warnings: Callable[[], list[str]]) -> None:
    function, weight, x = _dense()
    (found,) = function(weight, x)
    found.sum().backward()
    gradient = weight.grad
    (expected,) = torch.autograd.grad(dense(weight, x)[0].sum(), [weight])
    assert gradient is not None
    assert torch.equal(gradient, expected)
    assert function.counts() == (0, 1)
    assert warnings() == [
        "it records gradients, which compiled kernels do not; call it under "
        "torch.inference_mode() or torch.no_grad()"
    ]
    function(weight, x)
    assert warnings() == []  # once
    with torch.no_grad():
        assert not function(weight, x)[0].requires_grad
    assert function.counts() == (1, 2)
    # A frozen network records nothing.
    weight.requires_grad_(False)
    assert not function(weight, x)[0].requires_grad
    assert function(weight, x.clone().requires_grad_())[0].requires_grad
    assert function.counts() == (1, 3)


def test_a_function_that_switches_gradients_off_itself_is_compiled() -> None:
    def function(weight: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return dense(weight, x)

    module = fx.symbolic_trace(dense)
    graph = module.graph
    with graph.inserting_after(graph.find_nodes(op="placeholder")[-1]):
        graph.call_function(torch._C._set_grad_enabled, (False,))
    with graph.inserting_before(graph.output_node()):
        graph.call_function(torch._C._set_grad_enabled, (True,))
    module.recompile()
    counted, weight, x = _dense()
    calls = Calls(module, counted.calls._settings, "test")
    assert calls.sort([weight, x])
    (found,) = calls(weight, x)
    assert not found.requires_grad
    torch.testing.assert_close(found, function(weight, x)[0])
    assert len(calls._packed) == 1
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_forward_mode_is_left_to_pytorch(warnings: Callable[[], list[str]]) -> None:
    function = Counted(scaled, [torch.zeros(2)])
    x = torch.tensor([1.0, -1.0])
    function(x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones(2))
        found = torch.autograd.forward_ad.unpack_dual(function(dual)[0])
        assert found.tangent is not None
        assert found.tangent.tolist() == [2.0, 0.0]
    assert function.counts() == (1, 1)
    (message,) = warnings()
    assert message == (
        "it is differentiated in forward mode, which compiled kernels do not follow"
    )


def test_numbers_are_part_of_the_code() -> None:
    def function(x: Tensor, count: int, scale: Tensor) -> tuple[Any, ...]:
        factor = scale.item()
        return torch.relu(x) * factor + count, count + 1

    x, scale = torch.randn(4), torch.tensor(0.5, dtype=torch.float64)
    counted = Counted(function, [x, 3, scale])
    for count, factor in ((3, 0.5), (3, 0.5), (4, 0.5), (4, -0.0), (4, 0.0)):
        scale = torch.tensor(factor, dtype=torch.float64)
        found, expected = counted(x, count, scale), function(x, count, scale)
        torch.testing.assert_close(found[0], expected[0])
        assert found[1] == count + 1
    assert counted.counts() == (4, 0)


def test_beyond_the_limit_a_shape_is_compiled_when_it_comes_again(
    warnings: Callable[[], list[str]],
) -> None:
    function = Counted(scaled, [torch.zeros(4)], shapes=2)

    def call(size: int) -> None:
        x = torch.randn(size)
        assert torch.equal(function(x)[0], scaled(x)[0])

    for size in (1, 2, 1, 3):
        call(size)
    assert function.counts() == (2, 1)
    assert warnings() == [
        "it has kernels for 2 input shapes; a further one is compiled when it comes "
        "again, and replaces the one not used for longest (the option "
        '"shapes" keeps more)'
    ]
    call(3)  # again: it replaces 2
    call(1)
    assert function.counts() == (3, 1)
    call(2)
    assert function.counts() == (3, 2)
    assert len(function.calls._whole) == len(function.calls._packed) == 2
    for size in range(4, 40):  # never again: nothing is compiled, little is kept
        call(size)
    assert function.counts() == (3, 2 + 36)
    assert len(function.calls._seen) == 4 * 2


def test_a_function_that_cannot_be_compiled_is_tried_once(
    warnings: Callable[[], list[str]],
) -> None:
    function = Counted(lambda x: (nn.functional.dropout(x, 0.0) + 1,), [torch.zeros(4)])
    for size in (4, 4, 5):
        assert function(torch.zeros(size))[0].tolist() == [1.0] * size
    assert function.counts() == (1, 3)
    (message,) = warnings()
    assert message.startswith("operator 'aten.dropout.default' in training: it draws")


def test_a_mistake_of_ours_does_not_stop_the_network(
    warnings: Callable[[], list[str]],
) -> None:
    function = Counted(scaled, [torch.zeros(4)])

    def fail(arguments: Any) -> Any:
        raise KeyError("x" * 1000)

    function.calls._compile = fail  # type: ignore[method-assign]
    assert function(torch.ones(4))[0].tolist() == [2.0] * 4
    (message,) = warnings()
    assert message == f"it cannot be compiled (KeyError: '{'x' * (300 - 11)})"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(4, device="meta"), "x is on meta, and kernels are for the CPU"),
        (torch.zeros(4, 4).to_sparse(), "x has the layout sparse_coo"),
        (torch.nn.Buffer(torch.zeros(4)).as_subclass(type("Odd", (Tensor,), {})),
         "x is of type Odd"),
        (torch.Generator(), "x is of type Generator"),
        (3, "no tensor comes in"),
    ],
)  # fmt: skip
def test_what_kernels_cannot_read_is_told_at_once(
    example: Any, message: str, warnings: Callable[[], list[str]]
) -> None:
    assert not Counted(scaled, [example]).possible
    assert warnings() == [message]


def test_states_of_the_process_that_kernels_do_not_know(
    warnings: Callable[[], list[str]],
) -> None:
    x = torch.ones(4)
    for context, message in (
        (
            torch.autocast("cpu", torch.bfloat16),
            "autocast chooses other types than the kernels know",
        ),
        (torch.device("meta"), "new tensors go to meta by default"),
    ):
        function = Counted(scaled, [x])
        with context:
            assert function(x)[0].tolist() == [2.0] * 4
        assert function.counts() == (0, 1)
        assert warnings() == [message]


def test_an_empty_tensor_does_not_keep_others_from_kernels(
    warnings: Callable[[], list[str]],
) -> None:
    function = Counted(scaled, [torch.zeros(4)])
    assert function(torch.zeros(0))[0].tolist() == []
    assert function(torch.ones(4))[0].tolist() == [2.0] * 4
    assert function.counts() == (1, 1)
    assert warnings() == ["a tensor has no elements"]


def test_weights_of_inference_mode_are_left_to_pytorch(
    warnings: Callable[[], list[str]],
) -> None:
    function, _, x = _dense()
    with torch.inference_mode():
        weight = torch.randn(WIDTH, WIDTH)
        for _ in range(2):
            assert torch.equal(function(weight, x)[0], dense(weight, x)[0])
            weight.add_(1.0)
    assert function.counts() == (0, 2)
    assert warnings() == [
        "writes to a weight that was made in inference mode go unnoticed"
    ]


def test_many_threads_call_and_one_compiles() -> None:
    function = Counted(scaled, [torch.zeros(4)])

    def call(index: int) -> bool:
        x = torch.full((4 + index % 3,), float(index))
        return torch.equal(function(x)[0], scaled(x)[0])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(120)))
    assert function.counts() == (3, 0)


def test_reasons_are_warnings_once_and_then_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forget_reasons()
    for _ in range(2):
        Counted(scaled, [3])
    with caplog.at_level(logging.DEBUG, logger=calls_module.__name__):
        Counted(scaled, [3])
    forget_reasons()
    Counted(scaled, [3])
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "DEBUG", "WARNING"]


_FORK = """
import os, threading
import torch
from torch import fx
from trimtab.compiler.calls import Calls, Settings
from trimtab.hardware.load import machine

settings = Settings(
    machine=machine("milan"), threads=1, fewer=True, seed=0, cache=False, shapes=8
)
calls = Calls(fx.symbolic_trace(lambda x: (x + 1,)), settings, "test")
thread = threading.Thread(target=calls._lock.acquire)  # one that compiles
thread.start()
thread.join()
child = os.fork()
if not child:
    os._exit(0 if calls._lock.acquire(timeout=20) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_does_not_wait_for_who_compiles() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
