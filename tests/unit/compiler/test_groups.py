"""Which nodes a kernel computes: what is fused, what is not, and that all are there."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trimtab.compiler.build import known_values
from trimtab.compiler.groups import group
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Ref

R = torch.randn
X = R(1, 8, 6, 6)


def conv(inputs=8, outputs=8, size=3, **settings):
    return nn.Conv2d(inputs, outputs, size, **{"padding": size // 2, **settings})


@pytest.fixture
def grouped(networks):
    """Return ``make(function, *inputs, **parts)``: graph and groups of a network."""

    def make(function, *inputs, **parts):
        net = networks.prepared(networks.Network(function, **parts))
        graph = capture(net, inputs)
        return graph, group(graph, known_values(graph, weights_of(net, graph)))

    return make


def ops(found) -> list[list[str]]:
    """Return the operators of each group, short."""
    return [[node.op.split(".")[1] for node in each.nodes] for each in found.groups]


CASES = {
    "residual": (
        lambda m, x: F.relu(m.n(m.a(x)) + x),
        {"a": conv(), "n": nn.BatchNorm2d(8)},
        [["conv2d", "batch_norm", "add", "relu"]],
    ),
    "residual the other way round": (
        lambda m, x: F.relu(x + m.n(m.a(x))),
        {"a": conv(), "n": nn.BatchNorm2d(8)},
        [["conv2d", "batch_norm", "add", "relu"]],
    ),
    "two sums": (  # the later one takes the addition in
        lambda m, x: F.relu(m.a(x) + m.b(x)),
        {"a": conv(), "b": conv()},
        [["conv2d"], ["conv2d", "add", "relu"]],
    ),
    "silu by hand": (
        lambda m, x: [y * torch.sigmoid(y) for y in [m.a(x)]],
        {"a": conv()},
        [["conv2d"], ["sigmoid", "mul"]],
    ),
    "silu": (lambda m, x: F.silu(m.a(x)), {"a": conv()}, [["conv2d", "silu"]]),
    "diamond": (
        lambda m, x: [F.relu(z) + torch.tanh(z) for z in [m.a(x)]],
        {"a": conv()},
        [["conv2d"], ["relu"], ["tanh", "add"]],
    ),
    "used twice by one": (
        lambda m, x: [z + z for z in [m.a(x)]],
        {"a": conv()},
        [["conv2d", "add"]],
    ),
    "used twice": (
        lambda m, x: [m.b(z) + F.relu(z) for z in [m.a(x)]],
        {"a": conv(), "b": conv()},
        [["conv2d"], ["conv2d"], ["relu", "add"]],
    ),
    "an output inside": (
        lambda m, x: [(z, F.relu(z)) for z in [m.a(x)]],
        {"a": conv()},
        [["conv2d"], ["relu"]],
    ),
    "dropout": (
        lambda m, x: F.relu(m.n(m.d(m.a(x)))),
        {"a": conv(), "d": nn.Dropout(), "n": nn.BatchNorm2d(8)},
        [["conv2d", "dropout", "batch_norm", "relu"]],
    ),
    "a norm after a formula": (
        lambda m, x: m.n(F.relu(m.a(x))),
        {"a": conv(), "n": nn.BatchNorm2d(8)},
        [["conv2d", "relu", "batch_norm"]],
    ),
    "a norm by itself": (
        lambda m, x: F.relu(m.n(x)),
        {"n": nn.BatchNorm2d(8)},
        [["batch_norm", "relu"]],
    ),
    "two norms": (
        lambda m, x: m.o(m.n(m.a(x))),
        {"a": conv(), "n": nn.BatchNorm2d(8), "o": nn.BatchNorm2d(8)},
        [["conv2d", "batch_norm", "batch_norm"]],
    ),
    "a norm of a shared value": (
        lambda m, x: [(m.n(z), z) for z in [m.a(x)]],
        {"a": conv(), "n": nn.BatchNorm2d(8)},
        [["conv2d"], ["batch_norm"]],
    ),
    "a pool": (
        lambda m, x: F.relu(F.max_pool2d(m.a(x), 2)) * 2,
        {"a": conv()},
        [["conv2d"], ["max_pool2d", "relu", "mul"]],
    ),
    "nothing goes into a concatenation": (
        lambda m, x: F.relu(torch.cat([x, m.a(x)], 1)),
        {"a": conv()},
        [["conv2d"], ["cat"], ["relu"]],
    ),
    "nothing goes into a view": (
        lambda m, x: F.relu(m.a(x).flatten(1)),
        {"a": conv()},
        [["conv2d"], ["flatten"], ["relu"]],
    ),
    "the result grows": (
        lambda m, x: m.a(x).mean((2, 3), keepdim=True) * x,
        {"a": conv()},
        [["conv2d"], ["mean"], ["mul"]],
    ),
    "no float": (
        lambda m, x: (m.a(x) > 0, F.relu(x.double())),
        {"a": conv()},
        [["conv2d"], ["gt"], ["to"], ["relu"]],
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_fused(name, grouped) -> None:
    function, parts, expected = CASES[name]
    graph, found = grouped(function, X, **parts)
    assert ops(found) == expected
    # Every node stands in one group, unless it was known before.
    nodes = [node.name for each in found.groups for node in each.nodes]
    known = [node.name for node in graph.nodes if Ref(node.name) in found.constants]
    assert sorted(nodes + known) == sorted(node.name for node in graph.nodes)
    # What a group reads was made by a group before it.
    made = {Ref(leaf.name) for leaf in graph.inputs} | set(found.constants)
    for each in found.groups:
        reads = set(each.operands)
        if each.anchor is not None:
            reads |= set(each.anchor.inputs)
        assert reads <= made
        last = each.nodes[-1]
        made |= {Ref(last.name, index) for index in range(len(last.outputs))}
        assert each.output in made


def test_the_formula_of_a_residual_block(grouped) -> None:
    function, parts, _ = CASES["residual"]
    graph, found = grouped(function, X, **parts)
    (only,) = found.groups
    assert only.operands == (Ref(graph.inputs[0].name),)
    assert [each.node.op for each in only.affine] == ["aten.batch_norm.default"]
    assert str(only.formula) == "t0 = s0 + s1; t1 = max(0.0, t0)"


def test_a_norm_is_a_scale_and_a_shift(grouped) -> None:
    norm = nn.BatchNorm2d(8)
    _, found = grouped(lambda m, x: m.n(m.a(x)), X, a=conv(), n=norm)
    (affine,) = found.groups[0].affine
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    torch.testing.assert_close(affine.scale, scale.detach())
    shift = norm.bias.double() - norm.running_mean.double() * scale
    torch.testing.assert_close(affine.shift, shift.detach())
    # By itself its numbers become constants of the shape they are broadcast from.
    _, alone = grouped(lambda m, x: m.n(x), X, n=norm)
    (only,) = alone.groups
    assert only.affine == ()
    _, *others = only.operands
    assert [tuple(alone.constants[each].shape) for each in others] == [(1, 8, 1, 1)] * 2


def test_a_norm_goes_into_weights_only_along_their_outputs(grouped) -> None:
    dense, norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
    _, rows = grouped(lambda m, x: m.n(m.a(x)), R(4, 6), a=dense, n=norm)
    assert len(rows.groups[0].affine) == 1
    # (N, C, L): the norm is of axis 1, the layer makes axis 2.
    _, cubes = grouped(lambda m, x: m.n(m.a(x)), R(2, 8, 6), a=dense, n=norm)
    assert cubes.groups[0].affine == ()
    assert ops(cubes) == [["linear", "batch_norm"]]


def test_a_norm_whose_weight_is_an_input_is_left_alone(grouped) -> None:
    _, found = grouped(
        lambda m, x, w: F.batch_norm(x, m.m, m.v, w),
        X, R(8), m=R(8), v=torch.ones(8),
    )  # fmt: skip
    (only,) = found.groups
    assert only.anchor is not None
    assert only.formula.is_identity


def test_a_norm_of_what_is_no_constant_weight_is_a_formula(grouped) -> None:
    _, found = grouped(
        lambda m, x, w: m.n(F.conv2d(x, w)), X, R(8, 8, 3, 3), n=nn.BatchNorm2d(8)
    )
    (only,) = found.groups
    assert only.affine == ()
    assert len(only.operands) == 2


def test_what_depends_on_constants_alone_is_known(grouped) -> None:
    graph, found = grouped(
        lambda m, x: x * (m.k * 2 + 1).relu().view(1, 8, 1, 1),
        X, k=torch.arange(8.0) - 4,
    )  # fmt: skip
    assert ops(found) == [["mul"]]
    last = found.groups[0].operands[1]
    expected = (2 * (torch.arange(8.0) - 4) + 1).relu().view(1, 8, 1, 1)
    assert torch.equal(found.constants[last], expected)
    assert len(graph.nodes) == 5


def test_views_are_marked(grouped) -> None:
    _, found = grouped(
        lambda m, x: (x.transpose(1, 2), x.reshape(-1), x.chunk(2, 1), x.clone()), X
    )
    assert [each.view for each in found.groups] == [True] * 4


def test_normalisation_goes_into_the_weights_of_a_line(grouped):
    parts = {"a": nn.Conv1d(8, 8, 3, padding="same"), "n": nn.BatchNorm1d(8)}
    _, found = grouped(lambda m, x: F.relu(m.n(m.a(x))), R(2, 8, 9), **parts)
    assert ops(found) == [["conv1d", "batch_norm", "relu"]]
    (one,) = found.groups
    assert len(one.affine) == 1
