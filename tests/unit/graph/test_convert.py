import pytest
import torch
from torch import nn

from trimtab.errors import CaptureError
from trimtab.graph.capture import capture
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref, Token


def test_outputs_of_one_operator_are_told_apart(networks):
    def function(x):
        parts = x.split(1, dim=1)
        return parts[1] - parts[0]

    graph = capture(networks.Function(function).eval(), (torch.zeros(2, 2),))
    assert [len(node.outputs) for node in graph.nodes] == [2, 1]
    assert graph.nodes[1].inputs == (Ref("split", 1), Ref("split", 0))


def test_words_of_pytorch_are_tokens(networks):
    def function(x):
        return x + torch.zeros(2, dtype=torch.float32, device=x.device)

    graph = capture(networks.Function(function).eval(), (torch.ones(2),))
    zeros = graph.node("zeros").arguments
    assert zeros["dtype"] == Token("dtype", "float32")
    assert zeros["device"] == Token("device", "")  # wherever the graph runs


def test_leaves_that_are_no_tensors_are_baked_in(networks):
    graph = capture(networks.Function(lambda x, n: x * n).eval(), (torch.ones(2), 3))
    assert [(leaf.type is None, leaf.value) for leaf in graph.inputs] == [
        (False, None),
        (True, 3),
    ]


def test_a_layer_used_twice_is_counted_once():
    layer = nn.Linear(2, 2)
    graph = capture(nn.Sequential(layer, nn.ReLU(), layer).eval(), (torch.ones(1, 2),))
    linear = [node for node in graph.nodes if "linear" in node.op]
    assert [node.module for node in linear] == ["0", "2"]
    assert graph.parameters == 2 * 2 + 2


def test_values_that_decide_a_shape_are_refused(networks):
    with pytest.raises(CaptureError):
        capture(networks.Function(torch.nonzero).eval(), (torch.ones(2),))


class Odd:
    """A container only its own code knows."""


def test_an_unknown_container_is_refused(networks):
    with pytest.raises(CaptureError):
        capture(networks.Function(lambda x: Odd()).eval(), (torch.ones(2),))


def test_a_large_tensor_in_the_code_is_a_weight(networks):
    table = torch.ones(1 << 19)  # 2 MiB of float32
    with pytest.raises(CaptureError, match="register_buffer"):
        capture(networks.Function(lambda x: x + table).eval(), (torch.ones(1),))


def test_masks_are_combined_as_python_writes_it(networks):
    def function(x):
        mask = (x > 0) & (x < 2) | (x == 3) ^ (x > 9)
        mask |= x == 5
        mask &= x < 100
        mask ^= x == 7
        return mask

    graph = capture(networks.Function(function).eval(), (torch.zeros(8),))
    x = torch.tensor([-1.0, 1.0, 2.0, 3.0, 5.0, 7.0, 9.5, 100.0])
    wanted = [False, True, False, True, True, True, True, False]
    assert Executor(graph, {})(x).tolist() == wanted
    assert {node.op for node in graph.nodes} <= {
        *(f"aten.{name}.Scalar" for name in ("gt", "lt", "eq")),
        *(f"aten.bitwise_{name}.Tensor" for name in ("and", "or", "xor")),
    }


def test_keys_that_json_would_change_are_refused(networks):
    def function(x):
        return {True: x}

    with pytest.raises(CaptureError, match="a dict with text keys"):
        capture(networks.Function(function).eval(), (torch.zeros(2),))


def test_an_empty_tensor_in_the_code(networks):
    def function(x):
        return torch.cat([x, torch.tensor([], dtype=torch.float64)])

    x = torch.ones(2, dtype=torch.float64)
    graph = capture(networks.Function(function).eval(), (x,))
    assert graph.constants[0].data == b""
    assert torch.equal(Executor(graph, {})(x), x)


def test_results_of_operators_keep_their_names(networks):
    net = networks.Function(lambda x: x.topk(2)).eval()
    tree = capture(net, (torch.zeros(3, 4),)).output_tree
    assert (tree.kind, tree.name) == ("return_type", "topk")
    assert tree.keys == ("values", "indices")
