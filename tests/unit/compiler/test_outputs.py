"""Results share memory as the function's own results do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trimtab.compiler.outputs import Outputs, observe
from trimtab.errors import CaptureError

ROWS, COLUMNS = 2, 6


def _x() -> Tensor:
    return torch.arange(float(ROWS * COLUMNS)).view(ROWS, COLUMNS)


def _again(function: Any, *arguments: Any) -> tuple[Outputs, list[Any], list[Any]]:
    """Return what was observed, what is assembled, and what the function gives."""
    found = observe(function, arguments)
    computed = function(*arguments)
    results = [computed[index].clone().contiguous() for index in found.computed]
    return found, found.assemble(results, arguments), list(function(*arguments))


def _same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, Tensor):
            assert torch.equal(mine, theirs)
            assert mine.stride() == theirs.stride()
        else:
            assert (type(mine), mine) == (type(theirs), theirs)


def test_new_tensors_are_handed_out_as_they_are() -> None:
    found, mine, theirs = _again(lambda x: (x + 1, x.sum()), _x())
    assert found.plain
    assert found.computed == (0, 1)
    _same(mine, theirs)


def test_an_argument_is_the_same_object_and_a_view_is_a_view() -> None:
    x = torch.arange(3.0 * COLUMNS).view(3, COLUMNS)[1:]  # begins inside its storage

    def function(x: Tensor) -> tuple[Any, ...]:
        return x, x.t(), x[1:, ::2], x * 2, x.shape[0], None

    found, mine, theirs = _again(function, x)
    assert (found.computed, found.plain) == ((3,), False)
    assert mine[0] is x
    _same(mine, theirs)
    mine[2].fill_(-1.0)
    assert x[1].tolist() == [-1.0, 13.0, -1.0, 15.0, -1.0, 17.0]


def test_a_view_follows_another_argument_of_another_offset() -> None:
    found = observe(lambda x: (x.view(-1)[2:],), [_x()])
    x = torch.arange(20.0)[5 : 5 + ROWS * COLUMNS].view(ROWS, COLUMNS)
    (mine,) = found.assemble([], [x])
    assert mine.tolist() == [5.0 + each for each in range(2, ROWS * COLUMNS)]
    assert mine.data_ptr() == x.data_ptr() + 2 * 4


def test_outputs_that_share_memory_share_it_again() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        y = x + 1
        left, right = y.chunk(2, dim=1)
        return left, right, y.t(), x - 1

    found, mine, theirs = _again(function, _x())
    assert found.memories == ((ROWS * COLUMNS, torch.float32),)
    _same(mine, theirs)
    mine[0].fill_(-1.0)
    assert mine[2][0].tolist() == [-1.0] * ROWS
    assert mine[3][0, 0] == -1.0 == _x()[0, 0] - 1  # its own memory
    assert mine[2][COLUMNS // 2].tolist() == theirs[2][COLUMNS // 2].tolist()


def test_axes_in_another_order_stay_in_that_order() -> None:
    found, mine, theirs = _again(lambda x: ((x + 1).t().contiguous().t(),), _x())
    assert not found.plain
    assert mine[0].stride() == (1, ROWS)
    _same(mine, theirs)
    # A part of something larger becomes dense: there is nothing to share.
    found, mine, _ = _again(lambda x: ((x + 1)[:, ::2],), _x())
    assert found.plain
    assert mine[0].is_contiguous()


def test_writing_to_what_the_function_made_is_no_matter() -> None:
    found, mine, theirs = _again(lambda x: ((x + 1).mul_(2),), _x())
    assert found.plain
    _same(mine, theirs)


CONSTANT = torch.ones(COLUMNS)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: (x.add_(1),),
            "a function as kernels: aten.add_.Tensor writes to it (argument 0). Return "
            "new tensors, and write to none that were given.",
        ),
        (
            lambda x: (x[1:].zero_() + 1,),
            "aten.zero_.default writes to it (argument 0)",
        ),
        (lambda x: (CONSTANT.mul_(2) * x,), "aten.mul_.Tensor writes to a constant"),
        (lambda x: (x.view(torch.int32),), "views an argument as another dtype"),
        (lambda x: (CONSTANT, x + 1), "it is a constant or a subclass (output 0)"),
        (
            lambda x: ((y := x + 1), y.view(torch.int32)),
            "they share memory, but not alike (outputs [0, 1])",
        ),
        (
            lambda x: ((y := x[0] + 1).expand(2, -1), y),
            "they share memory, but not alike (outputs [0, 1])",
        ),
        (lambda x: (x + 1, [1]), "it is a list (output 1)"),
        (lambda x: (torch.complex(x, x).conj(),), "it is no plain dense tensor"),
        (lambda x: (x[x > 0],), "its result depends on values (aten."),
        (lambda x: (x * x.sum().item(),), "its result depends on values (aten._local"),
    ],
)
def test_what_cannot_be_repeated_is_refused(function: Any, message: str) -> None:
    with pytest.raises(CaptureError) as error:
        observe(function, [_x()])
    assert message in str(error.value)
    assert CONSTANT.tolist() == [1.0] * COLUMNS


def test_nothing_is_computed_and_no_value_is_needed() -> None:
    def function(x: Tensor, scale: float) -> tuple[Any, ...]:
        seen.append(type(x).__name__)
        return (x * scale,)

    seen: list[str] = []
    x = torch.empty_strided((1 << 20, 1 << 20), (0, 0))  # 4 TiB, were it dense
    assert observe(function, [x, 2.0]).plain
    assert seen == ["FakeTensor"]
