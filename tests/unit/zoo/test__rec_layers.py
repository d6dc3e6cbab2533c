from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.zoo._rec_layers import Tables, layers, random_table


def test_tables_add_up_rows_of_each_table() -> None:
    tables = Tables((3, 2), 2)
    weight = tables.weight.detach()
    ids = torch.tensor([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])
    expected = torch.stack(
        [
            torch.stack([weight[0] + weight[2], 2 * weight[3 + 1]]),
            torch.stack([2 * weight[2], weight[3] + weight[3 + 1]]),
        ]
    )
    torch.testing.assert_close(tables(ids).detach(), expected)


def test_tables_equal_one_embedding_bag_a_table() -> None:
    rows = (7, 1, 12)
    tables = Tables(rows, 5)
    ids = torch.stack([torch.randint(0, count, (4, 6)) for count in rows], 1)
    parts = tables.weight.split(rows)
    expected = [
        nn.functional.embedding_bag(ids[:, place], part, mode="sum")
        for place, part in enumerate(parts)
    ]
    assert torch.equal(tables(ids), torch.stack(expected, 1))


def test_rows_of_the_first_table_are_not_added_up() -> None:
    tables = Tables((4, 3), 2)
    ids = torch.tensor([[3, 0, 3]])
    assert torch.equal(tables.of_first(ids), tables.weight[ids])


def test_places_of_tables_are_no_part_of_the_state() -> None:
    assert list(Tables((4, 3), 2).state_dict()) == ["weight"]


def test_random_tables_are_trained_and_small() -> None:
    tables = Tables((400,), 4)
    assert tables.weight.requires_grad
    assert 0.04 < tables.weight.abs().max() <= 0.05
    tables(torch.tensor([[[3]]])).sum().backward()
    assert tables.weight.grad is not None
    (touched,) = tables.weight.grad.any(1).nonzero(as_tuple=True)
    assert touched.tolist() == [3]


def test_tables_from_outside_are_used_as_they_are() -> None:
    asked: list[tuple[str, int, int]] = []
    given = torch.ones(5, 2)

    def source(name: str, rows: int, columns: int) -> Tensor:
        asked.append((name, rows, columns))
        return given

    tables = Tables((2, 3), 2, name="wide", source=source)
    assert asked == [("wide", 5, 2)]
    assert tables.weight.data_ptr() == given.data_ptr()
    assert not tables.weight.requires_grad


@pytest.mark.parametrize("wrong", [torch.ones(4, 2), torch.ones(5, 2).double()])
def test_tables_of_another_shape_or_type_are_refused(wrong: Tensor) -> None:
    with pytest.raises(
        UsageError, match=r"the network's are \(5, 2\) of torch.float32"
    ):
        Tables((2, 3), 2, source=lambda name, rows, columns: wrong)


def test_random_tables_on_meta_take_no_memory() -> None:
    with torch.device("meta"):
        assert random_table("tables", 2**31 - 1, 2**20).is_meta


def test_layers_in_a_row() -> None:
    made = layers(4, [3, 2, 1], activation=nn.PReLU, bare_last=True)
    kinds = [type(each) for each in made]
    assert kinds == [nn.Linear, nn.PReLU, nn.Linear, nn.PReLU, nn.Linear]
    assert len(layers(4, [3, 2])) == 4
    assert len(layers(4, [])) == 0
