"""Networks of NAS-Bench-101 and 201, against figures of their papers and tables."""

import pytest
import torch
from benchmarks.design.cells import (
    NasBench101,
    NasBench201,
    cell_201,
    coded_201,
    same_cell,
)


@pytest.mark.parametrize(
    ("code", "parameters"),
    [((4, 3, 3, 3, 2, 3), 428346), ((2, 2, 1, 3, 1, 4), 587386)],
)
def test_parameters_of_nasbench201_are_those_of_the_table(code, parameters):
    net = NasBench201(coded_201(code))
    assert sum(each.numel() for each in net.parameters()) == parameters
    assert net.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_parameters_of_nasbench101_are_those_of_the_table():
    code = (
        0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1,
        0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 4, 4,
        4, 1,
    )  # fmt: skip
    net = NasBench101(code)
    assert sum(each.numel() for each in net.parameters()) == 4095778
    assert net.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_cell_that_joins_nothing_gives_zeros():
    net = NasBench201(coded_201((1, 1, 1, 1, 1, 1))).eval()
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(net(x), net(torch.rand(1, 3, 32, 32)))


def test_cells_that_make_the_same_network():
    def kind(text):
        return same_cell(cell_201(text))

    one = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|"
    dead = "|nor_conv_1x1~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_3x3~1|none~2|"
    assert kind(one) == kind(dead)
    # A node that is read twice is not two that are alike.
    ends = "|none~0|skip_connect~1|skip_connect~2|"
    twice = f"|nor_conv_1x1~0|+|none~0|skip_connect~1|+{ends}"
    alike = f"|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+{ends}"
    assert kind(twice) != kind(alike)
