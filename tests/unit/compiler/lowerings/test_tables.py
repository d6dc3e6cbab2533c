import pytest
import torch
from torch import nn

from trimtab.errors import ExecutionError


def test_rows_and_bags(network):
    numbers = torch.randint(0, 10, (3, 4))
    network(nn.Embedding(10, 5), numbers, tasks=["Embedding"])
    made = network(nn.EmbeddingBag(10, 12, mode="sum"), numbers, tasks=["Embedding"])
    assert made.tasks[0].work.length == 4, "the offsets are known and even"


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_by_offsets(network, mode):
    offsets = torch.tensor([0, 3, 3, 5])
    network(
        nn.EmbeddingBag(10, 9, mode=mode),
        torch.randint(0, 10, (7,)),
        offsets,
        tasks=["Embedding"],
    )


def test_a_number_outside_the_table_is_refused():
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.compile import compile as compile_module

    numbers = torch.zeros(3, dtype=torch.long)
    fast = compile_module(
        nn.Embedding(10, 4).eval(), (numbers,), machine="milan", cache=False
    )
    for wrong in (10, -1, 2**40):
        with pytest.raises(ExecutionError, match="a table of 10 rows has no row"):
            fast(torch.tensor([0, wrong, 1]))
