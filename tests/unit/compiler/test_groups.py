import torch
from torch import nn

from trimtab.compiler.build import known_values
from trimtab.compiler.groups import group
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Ref


def _groups(module, *inputs):
    module.eval()
    graph = capture(module, inputs)
    known = known_values(graph, weights_of(module, graph))
    found = group(graph, known)
    # Every node that is no constant is in exactly one group.
    names = [node.name for each in found.groups for node in each.nodes]
    expected = [node.name for node in graph.nodes if Ref(node.name) not in known]
    assert sorted(names) == sorted(expected)
    # What a group reads was made before.
    made = {Ref(leaf.name) for leaf in graph.inputs} | set(found.constants)
    for each in found.groups:
        inside = {Ref(node.name) for node in each.nodes}
        reads = {ref for node in each.nodes for ref in node.inputs} - inside
        assert reads <= made, each
        last = each.anchor or each.nodes[-1]
        made |= {Ref(last.name, index) for index in range(len(last.outputs))}
        made.add(each.output)
    return found.groups


class Block(nn.Module):
    """Convolution, norm, residual, ReLU; the value is used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.other = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(x)) + x)
        return self.other(y) + y


def test_what_follows_a_convolution_is_fused_with_it():
    first, second = _groups(Block(), torch.zeros(1, 4, 5, 5))
    assert [len(first.nodes), len(first.affine), len(first.operands)] == [4, 1, 1]
    assert [len(second.nodes), second.operands] == [2, (first.output,)]
    assert str(first.formula) == "t0 = s0 + s1; t1 = max(0.0, t0)"


def test_a_norm_by_itself_is_scale_and_shift():
    class PreNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return torch.relu(self.norm(x))

    (only,) = _groups(PreNorm(), torch.zeros(1, 3, 4, 4))
    assert only.anchor is None
    assert str(only.formula) == "t0 = s0 * s1 + s2; t1 = max(0.0, t0)"


def test_a_value_that_others_read_ends_its_group():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            y = self.linear(x)
            return torch.sigmoid(y) * y

    groups = _groups(Twice(), torch.zeros(2, 4))
    assert [len(each.nodes) for each in groups] == [1, 2]


def test_views_and_concatenations_take_nothing_in():
    class Moves(nn.Module):
        def forward(self, x, y):
            return torch.relu(torch.cat([x, y], 1)), torch.relu(x.transpose(1, 2))

    groups = _groups(Moves(), torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    kinds = [(each.view, each.anchor is None) for each in groups]
    assert kinds == [(False, False), (False, True), (True, False), (False, True)]


def test_dropout_in_evaluation_is_no_obstacle():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.ReLU())
    (only,) = _groups(module, torch.zeros(2, 4))
    assert len(only.nodes) == 3


def test_a_broadcast_result_is_not_fused_into_the_smaller():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x, y):
            return self.linear(x) + y

    groups = _groups(Outer(), torch.zeros(4), torch.zeros(3, 4))
    assert len(groups) == 2
