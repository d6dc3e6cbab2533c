"""Equations against PyTorch in double precision, and what becomes of them."""

import pytest
import torch
from torch import nn

from trimtab.compiler.lowerings.einsum import parse

_SIZES = {"b": 2, "h": 3, "i": 5, "j": 7, "k": 6, "d": 8, "e": 4}


def _operand(letters: str) -> torch.Tensor:
    return torch.randn([_SIZES[each] for each in letters])


class Net(nn.Module):
    def __init__(
        self, equation: str, weight: torch.Tensor | None = None, *, left=False
    ):
        super().__init__()
        self.equation, self.left = equation, left
        self.register_buffer("weight", weight)

    def forward(self, *given):
        if self.weight is not None:
            given = (self.weight, *given) if self.left else (*given, self.weight)
        return torch.einsum(self.equation, *given)


@pytest.mark.parametrize(
    ("equation", "copies"),
    [
        ("ij,jk->ik", 0),
        ("ij,kj->ik", 1),
        ("ji,jk->ik", 0),
        ("ij,jk", 0),
        ("ij,jk->ki", 1),  # the other way round
        ("bij,bjk->bik", 0),
        ("bij,bkj->bik", 1),
        ("...ij,...jk->...ik", 0),
        ("bhid,bhjd->bhij", 1),
        ("bhij,bhjd->bhid", 0),
        ("bihd,bjhd->bhij", 2),
        ("bj,bjk->bk", 0),
        ("bij,jk->bik", 0),
        ("bij,j->bi", None),
        ("ibj,jk->ibk", 0),
    ],
)
def test_products_of_computed_tensors(network, equation, copies):
    letters = equation.replace("...", "b").partition("->")[0].split(",")
    if copies is None:
        network(Net(equation), *map(_operand, letters))
        return
    tasks = ["Elementwise"] * copies + ["Contraction"]
    network(Net(equation), *map(_operand, letters), tasks=tasks)


def test_a_result_whose_axes_go_through_each_other(network):
    """It is shown in another order; the output is a copy."""
    tasks = ["Contraction", "Elementwise"]
    network(Net("bhij,bhjd->bihd"), _operand("bhij"), _operand("bhjd"), tasks=tasks)


@pytest.mark.parametrize(
    ("equation", "computed", "weight", "tasks"),
    [
        ("bij,kj->bik", "bij", "kj", ["Contraction"]),
        ("bij,jk->bik", "bij", "jk", ["Contraction"]),
        ("bid,hde->bihe", "bid", "hde", ["Contraction"]),
        ("bihe,hed->bid", "bihe", "hed", ["Contraction"]),
        ("bhid,hde->bhie", "bhid", "hde", None),
        ("bid,dk->bki", "bid", "dk", None),
        ("bid,hde->bhie", "bid", "hde", ["Contraction", "Elementwise"]),
    ],
)
def test_products_with_constants(network, equation, computed, weight, tasks):
    made = network(Net(equation, _operand(weight)), _operand(computed), tasks=tasks)
    kinds = [type(each).__name__ for each in made.tasks]
    assert "FallbackTask" not in kinds


def test_a_constant_on_the_left(network):
    net = Net("kj,bji->bki", _operand("kj"), left=True)
    made = network(net, _operand("bji"))
    assert all(type(each).__name__ == "Task" for each in made.tasks)


@pytest.mark.parametrize(
    ("equation", "tasks"),
    [
        ("bij,bjk->bik", ["Contraction"]),
        ("bij,jk->bik", ["Contraction"]),
        ("bhij,bhjd->bihd", ["Contraction", "Elementwise"]),
    ],
)
def test_what_follows_is_fused(network, equation, tasks):
    class After(nn.Module):
        def forward(self, a, b, c):
            return torch.relu(torch.einsum(equation, a, b) * 2 + c)

    left, _, result = equation.partition("->")
    given = map(_operand, (*left.split(","), result))
    network(After(), *given, tasks=tasks)


def test_images_are_operands_too(network):
    """What a convolution leaves in blocks of channels."""

    class Gram(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 16, 3)

        def forward(self, x):
            y = self.conv(x)
            return torch.einsum("bchw,bdhw->bcd", y, y)

    made = network(Gram(), torch.randn(2, 3, 6, 7))
    assert all(type(each).__name__ == "Task" for each in made.tasks)


@pytest.mark.parametrize(
    ("equation", "ranks"),
    [
        ("ii,ij->j", (2, 2)),  # a diagonal
        ("ij,kj->ik,", (2, 2)),
        ("ij,jk->k", (2, 2)),  # i is summed of one alone
        ("i->i", (1,)),
        ("i,j,k->ijk", (1, 1, 1)),
        ("...i,...ij->...j", (2, 4)),  # one is broadcast along the other
        ("ib,ib->b", (2, 2)),  # no columns
        ("ij,ij->", (2, 2)),
    ],
)
def test_what_is_no_product(equation, ranks):
    assert parse(equation, ranks) is None


@pytest.mark.parametrize(
    ("equation", "given"),
    [
        ("i,j->ij", ("i", "j")),
        ("ij,ij->i", ("ij", "ij")),
        ("ij,jk,kd->id", ("ij", "jk", "kd")),
    ],
)
def test_the_rest_is_left_to_others(network, equation, given):
    made = network(Net(equation), *map(_operand, given))
    assert len(made.tasks) == 1


def test_an_axis_of_extent_one_is_left_to_others(network):
    made = network(Net("bij,bjk->bik"), torch.randn(1, 3, 4), torch.randn(2, 4, 5))
    assert len(made.tasks) == 1
    assert type(made.tasks[0]).__name__ == "FallbackTask"
