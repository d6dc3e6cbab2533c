"""What recommendation networks share: stacked tables, and layers in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.errors import UsageError

__all__ = ["TableSource", "Tables", "layers", "random_table"]

_BOUND: Final = 0.05
# Rows start uniform in (-0.05, 0.05), as Keras starts its Embedding.

TableSource: TypeAlias = Callable[[str, int, int], Tensor]
"""From name, rows and columns to a float32 table."""


def random_table(name: str, rows: int, columns: int) -> Tensor:
    """Return a table of small random numbers; on meta only its shape.

    Example:
        >>> random_table("tables", 3, 2).shape
        torch.Size([3, 2])
    """
    del name
    return torch.empty(rows, columns).uniform_(-_BOUND, _BOUND)


@final
class Tables(nn.Module):
    """Tables of equal width, one below the other in one matrix.

    One call looks up all of them, so that a batch of one item pays for one operator
    instead of dozens, and processes share them as one map. The price: torch refuses an
    id beyond the whole matrix only. One beyond its own table reads the next table, so
    ids from outside go through `trimtab.zoo.queries.check_inputs` first.

    Args:
        rows: of each table.
        dim: numbers a row.
        name: given to `source`.
        source: makes the matrix. A table that needs no gradient, as a mapped one, is
            not trained.

    Raises:
        UsageError: `source` gave another shape or type.

    Example:
        >>> tables = Tables((3, 5), 2)
        >>> tables(torch.tensor([[[0, 2], [4, 4]]])).shape
        torch.Size([1, 2, 2])
    """

    first_rows: Tensor

    def __init__(
        self,
        rows: Sequence[int],
        dim: int,
        *,
        name: str = "tables",
        source: TableSource = random_table,
    ) -> None:
        super().__init__()
        shape = (sum(rows), dim)
        weight = source(name, *shape)
        if weight.shape != shape or weight.dtype != torch.float32:
            raise UsageError(
                f"{name} of shape {tuple(weight.shape)} and type {weight.dtype}",
                rule=f"the network's are {shape} of torch.float32",
                remedy="give the tables of this preset",
            )
        shared = source is not random_table
        self.weight = nn.Parameter(weight, requires_grad=not shared)
        first = torch.tensor([0, *accumulate(rows)][: len(rows)])
        self.register_buffer("first_rows", first[:, None], persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the sum of the named rows of each table.

        Args:
            ids: (n, tables, lookups).

        Returns:
            (n, tables, dim).
        """
        places = (ids + self.first_rows).flatten(0, 1)
        bags = F.embedding_bag(places, self.weight, mode="sum")
        return bags.view(ids.shape[0], ids.shape[1], -1)

    def of_first(self, ids: Tensor) -> Tensor:
        """Return rows of the first table, not added up.

        Args:
            ids: (n, length).

        Returns:
            (n, length, dim).
        """
        return F.embedding(ids, self.weight)


def layers(
    inputs: int,
    widths: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bare_last: bool = False,
) -> nn.Sequential:
    """Return linear layers with an activation behind each.

    Args:
        inputs: width of what comes in.
        widths: of what each layer gives.
        activation: makes one.
        bare_last: leave it out behind the last, for scores.

    Example:
        >>> [type(each).__name__ for each in layers(4, [3, 1], bare_last=True)]
        ['Linear', 'ReLU', 'Linear']
    """
    made: list[nn.Module] = []
    for width in widths:
        made += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*(made[:-1] if bare_last else made))
