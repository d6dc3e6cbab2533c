"""What the vocabulary lacks: taken apart, kept, or refused with the reason."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.cost.work import Work, work_of
from trimtab.errors import CaptureError, ExecutionError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.opaque import opaque_form, opaque_function, why_not
from trimtab.graph.operators import OPERATORS, Family, functional_form, is_opaque
from trimtab.graph.store import dumps, loads
from trimtab.hardware.load import machine


@pytest.fixture
def kept(networks):
    """Return ``kept(function, *inputs)``: the graph gives what the function does."""

    def check(function, *inputs):
        torch.manual_seed(0)
        inputs = inputs or (torch.randn(4, 6),)
        net = nn.Sequential(networks.Function(function)).eval()
        if len(inputs) > 1:
            net = networks.Function(function).eval()
        graph = capture(net, inputs)
        assert loads(dumps(graph)) == graph
        found = Executor(graph, weights_of(net, graph))(*inputs)
        torch.testing.assert_close(found, net(*inputs))
        return graph

    return check


def _ops(graph):
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.cosine_similarity(x, x + 1),
        lambda x: torch.outer(x[0], x[1]),
        lambda x: torch.kron(x, x),
        lambda x: torch.isclose(x, x + 1e-9),
        lambda x: F.mse_loss(x, 2 * x),
        lambda x: torch.hstack([x, x]),
        lambda x: torch.tensordot(x, x, dims=([1], [1])),
        lambda x: torch.quantile(x, 0.3, -1),
        lambda x: torch.std_mean(x, -1),
        lambda x: x.clone().renorm_(2, 0, 1.0),
    ],
)
def test_what_pytorch_can_take_apart_becomes_operators_that_are_known(kept, function):
    graph = kept(function)
    assert not any(is_opaque(node.op) for node in graph.nodes)
    assert {node.module for node in graph.nodes} == {"0"}


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: torch.histc(x, 5), "histc.default"),
        (lambda x: torch.linalg.qr(x), "linalg_qr.default"),
        (lambda x: x.nanmedian(-1), "nanmedian.dim"),
        (lambda x: torch.polygamma(1, x.abs() + 1), "polygamma.default"),
        # Taken apart it would hold a check, which acts.
        (lambda x: torch.linalg.inv(x[:4, :4]), "linalg_inv.default"),
    ],
)
def test_what_it_cannot_is_kept_if_it_is_pure(kept, function, op):
    graph = kept(function)
    (node,) = (node for node in graph.nodes if is_opaque(node.op))
    assert node.op == f"opaque.{op}"
    assert node.view_of is None


def test_one_that_is_kept_does_not_keep_others(kept):
    graph = kept(lambda x: torch.linalg.inv(x[:4, :4]).sum() + torch.outer(x[0], x[1]))
    assert "opaque.linalg_inv.default" in _ops(graph)
    assert sum(map(is_opaque, _ops(graph))) == 1


def test_in_place_forms_too(kept):
    graph = kept(lambda x: (x + 1).nextafter_(x))
    assert _ops(graph) == ["aten.add.Tensor", "opaque.nextafter.default"]


def test_its_cost_is_its_traffic(kept):
    graph = kept(lambda x, y: torch.nextafter(x, y), torch.ones(4, 6), torch.ones(6))
    (node,) = graph.nodes
    assert work_of(graph, node) == Work(
        read_bytes=4 * (4 * 6 + 6), write_bytes=4 * 4 * 6
    )
    estimate = Roofline().estimate(graph, machine("milan"))
    assert estimate.latency_s > machine("milan").dispatch_s


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (torch.bernoulli, "it draws random numbers"),
        (lambda x: torch.unique(x), "it is internal"),
        (lambda x: torch.empty_permuted((2, 2), (0, 1)) + x[:2, :2], "stood in memory"),
    ],
)
def test_what_no_graph_holds_is_refused_with_the_reason(networks, function, reason):
    net = nn.Sequential(networks.Function(function)).eval()
    with pytest.raises(CaptureError, match=rf"operator 'aten\..*{reason}.*module '0'"):
        capture(net, (torch.rand(4, 6),))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("from_file.default", "it takes an argument of type Optional[Device]"),
        ("tril_indices.default", "it takes an argument of type Optional[Device]"),
        ("hann_window.periodic", "it takes an argument of type Optional[Device]"),
        ("add.int", "it reads no tensor"),
        ("relu_.default", "it changes its arguments"),
        ("normal.Tensor_float", "it draws random numbers"),
        ("nonzero.default", "the shape of its result depends on values"),
        ("equal.default", "its result is no tensor"),
        ("item.default", "its result is no tensor"),
        ("split_copy.Tensor", "its result is no tensor"),
        ("as_strided_copy.default", "it reads memory beyond its tensor"),
        ("new_empty_strided.default", "its result is whatever stood in memory"),
        ("max_pool2d_with_indices_backward.default", "it does not check its arguments"),
        ("_fft_r2c.default", "it is internal"),
        ("rand_like.generator", "it draws random numbers"),
        ("view_as_real.default", "its result may share memory"),
        ("to_mkldnn.default", "its result is not dense"),
        ("igamma.default", ""),
    ],
)
def test_why_not(name, reason):
    packet, overload = name.split(".")
    function = getattr(getattr(torch.ops.aten, packet), overload)
    assert why_not(function) == reason
    assert (opaque_form(function) is None) == bool(reason)
    assert (opaque_function(f"opaque.{name}") is None) == bool(reason)


def test_operators_of_others_are_not_kept():
    assert why_not(torch.ops.prims.sin.default) == "it is none of PyTorch's own"
    assert opaque_form(len) is None


@pytest.mark.parametrize(
    "op",
    [
        "opaque.from_file.default",
        "opaque.relu_.default",
        "opaque.__class__.default",
        "opaque.histc.nosuch",
        "opaque.nosuch.default",
        "opaque.histc.out",
        "opaque.a b.default",
        "opaque.histc",
        "os.system.default",
    ],
)
def test_a_file_cannot_make_it_act(kept, op):
    graph = kept(lambda x: torch.histc(x, 5))
    node = replace(graph.nodes[0], op=op)
    with pytest.raises(ExecutionError, match="not in the vocabulary"):
        Executor(replace(graph, nodes=(node,)), {})


def test_the_vocabulary_answers_for_them_but_does_not_list_them():
    entry = OPERATORS["opaque.histc.default"]
    assert (entry.name, entry.family) == ("opaque.histc.default", Family.OPAQUE)
    assert "traffic" in entry.meaning
    assert not any(map(is_opaque, OPERATORS))
    assert "opaque.histc.default" in OPERATORS
    assert "aten.histc.default" not in OPERATORS
    assert functional_form("aten.histc.default") is None


@pytest.mark.parametrize("op", OPERATORS)
def test_nothing_is_opaque_that_is_known(op):
    assert not is_opaque(op)
