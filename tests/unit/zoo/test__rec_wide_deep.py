from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trimtab.zoo._rec_wide_deep import WideDeep
from trimtab.zoo.preset import TableGroup, WideDeepSizes


def sizes(tasks: int = 1, deep: tuple[int, ...] = (8, 5)) -> WideDeepSizes:
    return WideDeepSizes(
        dense=3, tables=(TableGroup(count=3, rows=10),), dim=4, cross_rows=100,
        deep=deep, tasks=tasks, tower=() if tasks == 1 else (6,),
    )  # fmt: skip


def inputs(items: int) -> tuple[Tensor, Tensor]:
    return torch.randn(items, 3), torch.randint(0, 10, (items, 3, 1))


def test_it_computes_the_equation() -> None:
    net = WideDeep(sizes())
    dense, ids = inputs(1)
    rows = [
        table[place]
        for table, place in zip(
            net.tables.weight.split(10), ids[0, :, 0].tolist(), strict=True
        )
    ]
    deep: Tensor = net.deep(torch.cat((dense[0], *rows)))
    pair = (int(ids[0, 0]) * 2_654_435_761 + int(ids[0, 1])) % 100
    wide = net.wide.weight[pair]
    expected = torch.sigmoid(wide + net.towers[0](deep))
    found: Tensor = net(dense, ids)
    torch.testing.assert_close(found[0], expected)


def test_there_is_a_wide_part() -> None:
    """The authors' code has none."""
    net = WideDeep(sizes())
    dense, ids = inputs(4)
    before: Tensor = net(dense, ids)
    with torch.no_grad():
        net.wide.weight.add_(1.0)
    after: Tensor = net(dense, ids)
    torch.testing.assert_close(after.logit() - before.logit(), torch.ones(4, 1))


def test_the_wide_part_depends_on_both_ids() -> None:
    net = WideDeep(sizes())
    seen: list[Tensor] = []
    net.wide.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    dense, ids = torch.zeros(100, 3), torch.zeros(100, 3, 1, dtype=torch.int64)
    ids[:, 0, 0] = torch.arange(100) // 10
    ids[:, 1, 0] = torch.arange(100) % 10
    net(dense, ids)
    # 100 pairs in 100 places: 10 firsts times a step prime to 100, plus 10 seconds.
    assert len(seen[0].unique()) > 50
    assert len(seen[0][:10].unique()) == len(seen[0][::10].unique()) == 10


def test_the_largest_ids_have_a_place() -> None:
    net = WideDeep(
        WideDeepSizes(
            dense=1,
            tables=(TableGroup(count=2, rows=2),),
            dim=1,
            cross_rows=7,
            deep=(),
            tasks=1,
            tower=(),
        )
    )
    seen: list[Tensor] = []
    net.wide.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    largest = 2**31 - 2
    ids = torch.full((1, 2, 1), largest)
    with pytest.raises(RuntimeError):  # these tables have two rows
        net(torch.zeros(1, 1), ids)
    assert int(seen[0]) == (largest * 2_654_435_761 + largest) % 7


def test_each_task_has_its_own_layers_and_weights() -> None:
    """The authors' code cannot run several tasks from its queue."""
    net = WideDeep(sizes(tasks=3))
    dense, ids = inputs(5)
    before: Tensor = net(dense, ids)
    assert before.shape == (5, 3)
    with torch.no_grad():
        for parameter in net.towers[1].parameters():
            parameter.add_(1.0)
        net.wide.weight[:, 2] += 1.0
    changed: Tensor = net(dense, ids) != before
    assert changed.tolist() == [[False, True, True]] * 5


def test_all_layers_may_belong_to_the_tasks() -> None:
    net = WideDeep(sizes(tasks=2, deep=()))
    out: Tensor = net(*inputs(4))
    assert out.shape == (4, 2)
    assert ((out > 0) & (out < 1)).all()
