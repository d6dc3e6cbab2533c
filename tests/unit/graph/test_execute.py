import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from trimtab.errors import ExecutionError, UsageError
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor, run_node
from trimtab.graph.liveness import fixed_names, live_sets
from trimtab.graph.types import Node, Ref, TensorType, Token


@pytest.fixture(autouse=True)
def slow_attention():
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


def same(left, right):
    a, _shape = pytree.tree_flatten(left)
    b, _other = pytree.tree_flatten(right)
    assert len(a) == len(b)
    return all(
        torch.equal(x, y) and x.dtype == y.dtype
        if isinstance(x, torch.Tensor)
        else x == y
        for x, y in zip(a, b, strict=True)
    )


def bound(module, args, kwargs):
    graph = capture(module, args, kwargs)
    return Executor(graph, weights_of(module, graph))


def inputs_of(executor, args, kwargs):
    leaves, _ = pytree.tree_flatten((args, kwargs))
    return {
        Ref(leaf.name): value
        for leaf, value in zip(executor.graph.inputs, leaves, strict=True)
    }


def test_equal_bits(case):
    module, args, kwargs = case
    with torch.no_grad():
        expected = module(*args, **kwargs)
    assert same(bound(module, args, kwargs)(*args, **kwargs), expected)


def test_cut_at_every_position_and_joined(case):
    module, args, kwargs = case
    executor = bound(module, args, kwargs)
    values = inputs_of(executor, args, kwargs)
    whole = executor.run(values)
    for position, live in enumerate(live_sets(executor.graph)):
        half = executor.run(values, 0, position)
        assert set(half) == set(live)
        joined = executor.run(half, position)
        assert all(torch.equal(whole[ref], joined[ref]) for ref in whole)


def test_a_part_needs_its_own_weights_alone(case):
    module, args, kwargs = case
    graph = capture(module, args, kwargs)
    weights = weights_of(module, graph)
    executor = Executor(graph, weights)
    values = inputs_of(executor, args, kwargs)
    whole, end = executor.run(values), len(graph.nodes)
    shares = {each.name: each.shares for each in graph.constants}
    for position in {0, end // 3, end // 2, end}:
        halves = []
        for part in (range(position), range(position, end)):
            wanted = {shares[name] for name in fixed_names(graph, part) & set(shares)}
            some = {key: each for key, each in weights.items() if key in wanted}
            halves.append(Executor(graph, some, part=part))
        head, tail = halves
        joined = tail.run(head.run(values, 0, position), position)
        assert same(tail.results(joined), executor.results(whole))
        if 0 < position < end:
            with pytest.raises(ExecutionError, match="here are"):
                head.run(values)


def test_the_inputs_are_not_changed(networks):
    module = networks.Function(networks.input_in_place).eval()
    executor = bound(module, (torch.ones(2),), {})
    x = torch.ones(2)
    assert torch.equal(executor(x), torch.full((2,), 4.0))
    assert torch.equal(x, torch.ones(2))


def linear():
    torch.manual_seed(0)
    return bound(nn.Linear(3, 2).eval(), (torch.zeros(1, 3),), {})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(2, 3), r"float32\[2, 3\].*captured with float32\[1,3\]"),
        (torch.zeros(1, 3, dtype=torch.float64), r"float64\[1, 3\]"),
        ("text", "type str"),
    ],
)
def test_another_shape_or_dtype(value, said):
    with pytest.raises(ExecutionError, match=said):
        linear()(value)


def test_another_number_of_arguments():
    with pytest.raises(UsageError, match="captured with a tuple of 1"):
        linear()(torch.zeros(1, 3), torch.zeros(1, 3))


def test_a_number_that_was_baked_in(networks):
    executor = bound(
        networks.Function(lambda x, n: x * n).eval(), (torch.ones(2), 3), {}
    )
    assert torch.equal(executor(torch.ones(2), 3), torch.full((2,), 3.0))
    with pytest.raises(ExecutionError, match="was 3 at capture"):
        executor(torch.ones(2), 4)


def test_weights_must_fit():
    module = nn.Linear(3, 2).eval()
    graph = capture(module, (torch.zeros(1, 3),))
    weights = weights_of(module, graph)
    with pytest.raises(ExecutionError, match=r"weight 'bias'.*got none"):
        Executor(graph, {"weight": weights["weight"]})
    with pytest.raises(ExecutionError, match="weight 'bias'"):
        Executor(graph, {**weights, "bias": torch.zeros(3)})
    with pytest.raises(ExecutionError, match="weight 'bias'"):
        Executor(graph, {**weights, "bias": torch.zeros(2, dtype=torch.float64)})


def tampered(**parts):
    graph = capture(nn.ReLU().eval(), (torch.zeros(2),))
    return replace(graph, nodes=(replace(graph.nodes[0], **parts),))


@pytest.mark.parametrize(
    "op",
    ["aten.resize_.default", "os.system.default", "aten.relu_.default", "aten.x", ""],
)
def test_operators_outside_the_vocabulary_do_not_run(op):
    with pytest.raises(ExecutionError, match="not in the vocabulary"):
        Executor(tampered(op=op), {})


def test_words_must_be_pytorchs_words():
    arguments = FrozenDict({"self": Ref("input"), "dtype": Token("dtype", "load")})
    with pytest.raises(ExecutionError, match="knows no dtype"):
        Executor(tampered(op="aten.zeros_like.default", arguments=arguments), {})


def test_unknown_arguments_do_not_run():
    arguments = FrozenDict({"self": Ref("input"), "out": Ref("input")})
    with pytest.raises(ExecutionError, match="argument 'out'"):
        Executor(tampered(arguments=arguments), {})


def test_a_failing_operator_is_named():
    module = nn.Embedding(3, 2).eval()
    executor = bound(module, (torch.tensor([0]),), {})
    with pytest.raises(ExecutionError, match=r"aten\.embedding\.default.*embedding"):
        executor(torch.tensor([9]))


def test_ranges_and_values_that_are_missing():
    executor = linear()
    with pytest.raises(ExecutionError, match="the graph has 1 nodes"):
        executor.run({}, 0, 2)
    with pytest.raises(ExecutionError, match="value %input: it is needed"):
        executor.run({})


def test_every_node_is_watched_once(case):
    module, args, kwargs = case
    executor = bound(module, args, kwargs)
    seen: list[Node] = []
    executor.run(inputs_of(executor, args, kwargs), watch=seen.append)
    assert seen == list(executor.graph.nodes)


def test_many_threads_may_call_one():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    executor = bound(module, (torch.zeros(1, 16),), {})
    inputs = [torch.randn(1, 16) for _ in range(64)]
    with torch.no_grad():
        expected = [module(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(executor, inputs))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_graph_from_the_meta_device_runs_here(networks):
    with torch.device("meta"):
        graph = capture(
            networks.Recurrent(nn.LSTM).eval(),
            (torch.zeros(2, 3, dtype=torch.int64),),
        )
    torch.manual_seed(2)
    module = networks.Recurrent(nn.LSTM).eval()
    ids = torch.randint(0, 20, (2, 3))
    executor = Executor(graph, weights_of(module, graph))
    with torch.no_grad():
        assert torch.equal(executor(ids), module(ids))


def test_devices_and_weights_that_are_not_there():
    module = nn.Linear(3, 2).eval()
    graph = capture(module, (torch.zeros(1, 3),))
    with pytest.raises(ExecutionError, match="device 'banana'"):
        Executor(graph, weights_of(module, graph), device="banana")
    absent = {"weight": torch.empty(2, 3, device="meta"), "bias": torch.zeros(2)}
    with pytest.raises(ExecutionError, match=r"weight 'weight'.*on meta"):
        Executor(graph, absent)


def scaled(value):
    graph = capture(Scaled().eval(), (torch.ones(2, dtype=torch.int64), value))
    return Executor(graph, {})


class Scaled(nn.Module):
    def forward(self, x, by):
        return x if by is None else x * by


@pytest.mark.parametrize("value", [None, 2, 2.0, True, 0.0, float("nan")], ids=repr)
def test_only_the_very_number_is_the_one_that_was_baked_in(value):
    x = torch.ones(2, dtype=torch.int64)
    executor = scaled(value)
    result = executor(x, value)
    expected = Scaled()(x, value)
    assert result.dtype == expected.dtype
    assert torch.equal(result, expected) or value != value
    for other in (None, 2, 2.0, True, 1, 0, -0.0, "2", float("nan"), x, torch.ones(1)):
        if repr(other) != repr(value):
            with pytest.raises(ExecutionError, match="baked in"):
                executor(x, other)


def test_a_tensor_in_place_of_a_number_is_told_in_one_line():
    with pytest.raises(ExecutionError) as caught:
        scaled(2)(torch.ones(2, dtype=torch.int64), torch.zeros(3, 4))
    assert caught.value.asked == "argument 'by' = float32[3, 4]"
    assert caught.value.rule == "it was 2 at capture and is baked in"


def test_words_import_nothing(monkeypatch):
    def load(name):
        pytest.fail(f"a word from a file made torch import {name}")

    arguments = FrozenDict({"self": Ref("input"), "dtype": Token("dtype", "_lazy")})
    graph = tampered(op="aten.zeros_like.default", arguments=arguments)
    monkeypatch.setattr(torch, "__getattr__", load)
    with pytest.raises(ExecutionError, match=r"'_lazy'.*knows no dtype"):
        Executor(graph, {})


HOSTILE: dict[str, Any] = {
    "a number that is too large": ("add.Scalar", {"other": 1 << 80}, 1, "too big"),
    "a size that is too large": (
        "reshape.default",
        {"shape": (1 << 80,)},
        1,
        "'shape'",
    ),
    "text for a number": ("add.Scalar", {"other": "x"}, 1, "other"),
    "a missing argument": ("add.Scalar", {}, 1, "missing value"),
    "too few results": ("relu.default", {}, 2, "gave 1 results, the graph has 2"),
    "too many results": ("unbind.int", {"dim": 0}, 1, "gave 2 results, the graph"),
    "all the memory": ("repeat.default", {"repeats": (1 << 46,)}, 1, "node 'relu'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_gives_an_error_that_names_the_node(name):
    op, arguments, outputs, said = HOSTILE[name]
    graph = tampered(
        op=f"aten.{op}",
        arguments=FrozenDict({"self": Ref("input"), **arguments}),
        outputs=(TensorType((2,), "float32"),) * outputs,
    )
    with pytest.raises(ExecutionError, match=said) as caught:
        Executor(graph, {})(torch.zeros(2))
    assert "node 'relu'" in caught.value.where


class Frozen(nn.Module):
    """PyTorch picks its kernels by whether the weights ask for a gradient."""

    def __init__(self, learned) -> None:
        super().__init__()
        torch.manual_seed(3)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.layer = layer.requires_grad_(learned)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("learned", [True, False])
def test_equal_bits_whether_weights_are_frozen_or_not(learned):
    module = Frozen(learned).eval()
    for _ in range(4):
        x = torch.randn(2, 5, 32)
        with torch.no_grad():
            expected = module(x)
        assert torch.equal(bound(module, (x,), {})(x), expected)


class Made(TorchDispatchMode):
    """Notes every tensor that an operator makes, and holds none."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[torch.Tensor]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.made += [
            weakref.ref(each)
            for each in pytree.tree_leaves(result)
            if isinstance(each, torch.Tensor)
        ]
        return result

    @property
    def alive_bytes(self):
        alive = {id(each()): each() for each in self.made if each() is not None}
        return sum(
            each.numel() * each.element_size()
            for each in alive.values()
            if each is not None
        )


def test_values_are_let_go_after_their_last_use(networks):
    def function(x):
        kept = torch.exp(x)
        largest, _place = torch.exp(kept).max(dim=1)  # nobody wants the place
        once = largest * 2
        return torch.relu(once + 1) + kept.sum(1)

    x = torch.randn(3, 7)
    executor = bound(networks.Function(function).eval(), (x,), {})
    given = {Ref(leaf.name) for leaf in executor.graph.inputs}
    made = Made()
    found = []
    with made:
        executor.run(
            dict.fromkeys(given, x), watch=lambda node: found.append(made.alive_bytes)
        )
    crossing = live_sets(executor.graph)[1:]
    assert found == [
        sum(executor.graph.type_of(ref).size_bytes for ref in live if ref not in given)
        for live in crossing
    ]
    assert max(found) == 2 * (3 * 7 * 4)  # both exponentials


def test_constants_are_not_overwritten_by_a_run(networks):
    module = networks.Constants().eval()
    x = torch.ones(2)
    executor = bound(module, (x,), {})
    before = {name: each.clone() for name, each in module.state_dict().items()}
    first, *_ = executor(x)
    second, *_ = executor(x)
    assert torch.equal(first, second)
    assert all(torch.equal(module.state_dict()[k], v) for k, v in before.items())


def test_one_node_by_itself(networks):
    module = networks.Function(lambda x: torch.split(x * 2, [1, 2], 1)).eval()
    graph = capture(module, (torch.ones(2, 3),))
    double, split, *_ = graph.nodes
    x = torch.arange(6.0).view(2, 3)
    (twice,) = run_node(double, {Ref(graph.inputs[0].name): x})
    assert torch.equal(twice, 2 * x)
    first, second = run_node(split, {Ref(double.name): twice})
    assert torch.equal(first, 2 * x[:, :1])
    assert torch.equal(second, 2 * x[:, 1:])


def test_one_node_leaves_its_values_alone(networks):
    module = networks.Function(lambda x: (x + 1).relu()).eval()
    node = capture(module, (torch.ones(2),)).nodes[1]
    values = {node.inputs[0]: torch.tensor([-1.0, 2.0])}
    run_node(node, values)
    assert list(values) == [node.inputs[0]]
    assert torch.equal(values[node.inputs[0]], torch.tensor([-1.0, 2.0]))


def test_one_node_on_tensors_without_memory(networks):
    module = networks.Function(lambda x: x.transpose(0, 1)).eval()
    (node,) = capture(module, (torch.ones(2, 3),)).nodes
    base = torch.empty(2, 3, device="meta")
    (shown,) = run_node(node, {node.inputs[0]: base}, "meta")
    assert shown.stride() == (1, 3)
    assert shown._is_view()


def test_a_node_that_pytorch_refuses_is_named(networks):
    module = networks.Function(lambda x: x.view(3, 2)).eval()
    (node,) = capture(module, (torch.ones(2, 3),)).nodes
    with pytest.raises(ExecutionError, match=r"view"):
        run_node(node, {node.inputs[0]: torch.ones(2, 4)})


def test_constants_and_views_of_them_are_known_at_once(networks):
    module = networks.Constants().eval()
    executor = bound(module, (torch.ones(2),), {})
    found = executor.constants
    names = {
        constant.target: Ref(constant.name) for constant in executor.graph.constants
    }
    assert torch.equal(found[names["scale"]], torch.tensor([2.0, 3.0]))
    written = [each for each in found.values() if each.tolist() == [0.5, -0.5]]
    assert written
    assert {ref.name for ref in found} == set(executor.graph.static)
    owned = {Ref(constant.name) for constant in executor.graph.constants}
    assert owned < set(found)
