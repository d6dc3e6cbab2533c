"""Graphs lose what capture cannot take, and compute the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from trimtab.compiler.rewrite import encoder_layer, records_gradients, rewrite
from trimtab.graph.capture import capture

WIDTH, HEADS, INNER = 8, 2, 12


def _graph_of(function: Any, *inputs: Tensor) -> tuple[fx.GraphModule, list[Any]]:
    """Return what Dynamo hands to a backend, and the arguments of its call."""
    found: list[fx.GraphModule] = []
    given: list[Any] = []

    def keep(module: fx.GraphModule, _: Any) -> Any:
        def run(*arguments: Any) -> Any:
            given.extend(arguments)
            return module(*arguments)

        found.append(module)
        return run

    torch._dynamo.reset()
    torch.compile(function, backend=keep)(*inputs)
    assert len(found) == 1
    return found[0], given


def test_a_graph_without_any_of_it_is_left_alone() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    assert rewrite(module) is module
    assert records_gradients(module)


def test_switches_of_gradient_mode_go() -> None:
    @torch.no_grad()
    def function(x: Tensor) -> Tensor:
        return x * 2.0 + 1.0

    x = torch.ones(3)
    module, _ = _graph_of(function, x)
    switches = [n for n in module.graph.nodes if n.target is torch._C._set_grad_enabled]
    assert len(switches) == 2
    assert not records_gradients(module)
    found = rewrite(module)
    assert found is not module
    assert not {n.target for n in found.graph.nodes} & {torch._C._set_grad_enabled}
    assert found(x)[0].tolist() == [3.0] * 3
    assert len(module.graph.nodes) == len(found.graph.nodes) + 2


def test_an_operator_outside_of_the_switches_records() -> None:
    def function(x: Tensor) -> Tensor:
        with torch.no_grad():
            y = x * 2.0
        return y + x

    module, _ = _graph_of(function, torch.ones(3))
    assert records_gradients(module)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_opaque_encoder_layer_is_opened(norm_first: bool, activation: str) -> None:
    layer = nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        INNER,
        batch_first=True,
        norm_first=norm_first,
        activation=activation,
        layer_norm_eps=1e-3,
    ).eval()
    x = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        module, arguments = _graph_of(layer, x)
        (node,) = (n for n in module.graph.nodes if n.op == "call_function")
        assert node.target == torch._transformer_encoder_layer_fwd
        found = rewrite(module)
        (node,) = (n for n in found.graph.nodes if n.op == "call_function")
        assert node.target is encoder_layer
        mine, theirs = found(*arguments)[0], layer(x)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_mask_keeps_the_layer_closed() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, batch_first=True).eval()
    x, mask = torch.randn(2, 5, WIDTH), torch.zeros(2, 5, dtype=torch.bool)
    with torch.no_grad():
        module, _ = _graph_of(lambda x: layer(x, src_key_padding_mask=mask), x)
    nodes = module.graph.nodes
    assert any(n.target == torch._transformer_encoder_layer_fwd for n in nodes)
    assert rewrite(module) is module


def test_capture_takes_what_is_left() -> None:
    shapes = [(3 * WIDTH, WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,)]
    behind = [(INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,)]

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            every = [*shapes, *[(WIDTH,)] * 4, *behind]
            self.weights = nn.ParameterList(map(torch.randn, every))

        def forward(self, x: Tensor) -> Tensor:
            found: list[Any] = list(self.weights)
            found[4:4] = [False, False, 1e-5]
            result: Tensor = partial(encoder_layer, x, WIDTH, HEADS)(*found)
            return result

    graph = capture(Layer().eval(), (torch.zeros(2, 5, WIDTH),))
    ops = [node.op for node in graph.nodes]
    assert ops.count("aten.linear.default") == 4
    assert ops.count("aten.layer_norm.default") == 2
    assert "aten.scaled_dot_product_attention.default" in ops
