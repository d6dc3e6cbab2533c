from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trimtab.zoo._rec_dlrm import Dlrm
from trimtab.zoo.preset import DlrmSizes, TableGroup


def network(interaction: Literal["dot", "cat"]) -> Dlrm:
    return Dlrm(
        DlrmSizes(
            dense=6,
            bottom=(5, 4),
            lookups=3,
            dim=4,
            interaction=interaction,
            tables=(TableGroup(count=1, rows=8), TableGroup(count=2, rows=3)),
            top=(7, 1),
        )
    )


def inputs(items: int) -> tuple[Tensor, Tensor]:
    return torch.randn(items, 6), torch.randint(0, 3, (items, 3, 3))


def vectors(net: Dlrm, dense: Tensor, ids: Tensor) -> list[Tensor]:
    """Return the dense vector and the sums of rows of one item."""
    sums = [
        table[places].sum(0)
        for table, places in zip(net.tables.weight.split((8, 3, 3)), ids, strict=True)
    ]
    return [net.bottom(dense), *sums]


def test_products_of_all_pairs_stand_beside_the_dense_vector() -> None:
    net = network("dot")
    dense, ids = inputs(1)
    all_ = vectors(net, dense[0], ids[0])
    pairs = [all_[i] @ all_[j] for i in range(4) for j in range(i)]
    assert len(pairs) == 4 * 3 // 2
    expected = torch.sigmoid(net.top(torch.cat((all_[0], torch.stack(pairs)))))
    found: Tensor = net(dense, ids)
    torch.testing.assert_close(found[0], expected)


def test_concatenation() -> None:
    net = network("cat")
    dense, ids = inputs(1)
    expected = torch.sigmoid(net.top(torch.cat(vectors(net, dense[0], ids[0]))))
    found: Tensor = net(dense, ids)
    torch.testing.assert_close(found[0], expected)


def test_dense_features_go_through_the_bottom_with_relu_behind_each_layer() -> None:
    net = network("cat")
    assert [type(each).__name__ for each in net.bottom] == ["Linear", "ReLU"] * 2
    assert type(net.top[-1]).__name__ == "Linear"


def test_one_item_a_row() -> None:
    net = network("dot")
    dense, ids = inputs(5)
    together: Tensor = net(dense, ids)
    assert together.shape == (5, 1)
    apart: list[Tensor] = [net(dense[i : i + 1], ids[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(together, torch.cat(apart))
