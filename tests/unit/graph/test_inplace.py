import pytest
import torch

from trimtab.errors import CaptureError
from trimtab.graph.inplace import needs_decomposition, storages, written_by


def exported(module, args):
    return torch.export.export(module.eval(), args, strict=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chain_in_place", False),  # nothing else shows the memory
        ("live_view", True),  # a view is read after its base was written
        ("no_grad_inside", True),  # a nested graph
        ("half_in_place", True),  # the functional form would promote
        ("int_in_place", False),
        ("input_in_place", False),
    ],
)
def test_which_programs_are_decomposed(networks, name, expected):
    module = networks.Function(getattr(networks, name))
    assert needs_decomposition(exported(module, (torch.ones(2, 2),))) is expected


def test_a_view_that_is_not_read_again_does_no_harm(networks):
    def function(x):
        y = x * 2
        total = y[:, 0].sum()
        y.add_(1)
        return y, total

    module = networks.Function(function)
    assert not needs_decomposition(exported(module, (torch.ones(2, 2),)))


def test_writing_through_a_view_whose_base_is_read(networks):
    def function(x):
        y = x * 2
        y[0].add_(1)
        return y

    assert needs_decomposition(
        exported(networks.Function(function), (torch.ones(2, 2),))
    )


def test_what_a_node_writes_and_shares(networks):
    program = exported(networks.Function(networks.chain_in_place), (torch.ones(2),))
    nodes: dict[str, torch.fx.Node] = {node.name: node for node in program.graph.nodes}
    add, mul = nodes["add"], nodes["mul_"]
    memory = storages(program)
    assert written_by(mul) is add
    assert written_by(add) is None
    assert memory[mul] == memory[add] != memory[nodes["add_1"]]


def test_an_alias_through_dropout_is_refused(networks):
    module = networks.Function(networks.dropout_then_write)
    with pytest.raises(CaptureError, match="dropout in evaluation hands on its input"):
        needs_decomposition(exported(module, (torch.ones(2, 2),)))
