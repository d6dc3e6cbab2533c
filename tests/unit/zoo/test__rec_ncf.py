from __future__ import annotations

import torch
from torch import Tensor

from trimtab.graph.capture import capture
from trimtab.zoo._rec_ncf import Ncf
from trimtab.zoo.preset import NcfSizes

SIZES = NcfSizes(users=9, items=5, dim=4, mlp=(6, 3))


def test_it_computes_the_equations() -> None:
    net = Ncf(SIZES)
    user, item = 8, 3
    gmf_user, gmf_item, mlp_user, mlp_item = net.tables.weight.split((9, 5, 9, 5))
    product = gmf_user[user] * gmf_item[item]
    deep: Tensor = net.mlp(torch.cat((mlp_user[user], mlp_item[item])))
    expected = torch.sigmoid(net.score(torch.cat((product, deep))))
    found: Tensor = net(torch.tensor([[[user], [item]]]))
    torch.testing.assert_close(found[0], expected)


def test_the_first_path_is_a_product_and_no_sum() -> None:
    """The authors' code adds the two vectors."""
    net = Ncf(SIZES)
    with torch.no_grad():
        net.tables.weight.zero_()
        net.tables.weight[:9] = 1.0  # users of the product; its items stay zero
    ids = torch.tensor([[[0], [0]]])
    with torch.no_grad():
        net.score.weight[:, :4] = 100.0
    before: Tensor = net(ids)
    with torch.no_grad():
        net.score.weight[:, :4] = 0.0
    after: Tensor = net(ids)
    assert torch.equal(before, after)


def test_the_output_is_one_probability() -> None:
    """The authors' code ends in 64 numbers behind a ReLU."""
    net = Ncf(SIZES)
    with torch.no_grad():
        net.score.bias.fill_(-3.0)
    out: Tensor = net(torch.zeros(7, 2, 1, dtype=torch.int64))
    assert out.shape == (7, 1)
    assert ((out > 0) & (out < 0.5)).all()


def test_every_row_is_looked_up_once() -> None:
    """The authors' code looks up the rows of the product twice."""
    ids = torch.zeros(16, 2, 1, dtype=torch.int64)
    graph = capture(Ncf(SIZES).eval(), (ids,))
    bags = [node for node in graph.nodes if "embedding" in node.op]
    assert len(bags) == 1
    rows = bags[0].outputs[0]
    assert rows is not None
    assert rows.shape == (16 * 4, 4)
