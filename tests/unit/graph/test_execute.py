from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from trimtab.errors import ExecutionError, UsageError
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.liveness import live_sets
from trimtab.graph.types import Node, Ref, Token


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
