"""Neural collaborative filtering."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from trimtab.zoo._rec_layers import Tables, TableSource, layers, random_table
from trimtab.zoo.preset import NcfSizes

__all__ = ["Ncf"]


@final
class Ncf(nn.Module):
    """NeuMF: a product of user and item beside layers over both.

    User and item have a row for the product and another for the layers. The score is a
    sigmoid over both paths.

    Args:
        sizes: of tables and layers.
        tables: makes the tables.

    References:
        He et al., Neural Collaborative Filtering, WWW 2017 (arXiv 1708.05031), section
        3.4, equation 12.

    Example:
        >>> net = Ncf(NcfSizes(dim=4, users=9, items=7, mlp=(8,)))
        >>> net(torch.tensor([[[8], [6]]])).shape
        torch.Size([1, 1])
    """

    def __init__(self, sizes: NcfSizes, tables: TableSource = random_table) -> None:
        super().__init__()
        self.tables = Tables(sizes.rows, sizes.dim, source=tables)
        self.mlp = layers(2 * sizes.dim, sizes.mlp)
        self.score = nn.Linear(sizes.dim + sizes.mlp[-1], 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the probability of an interaction.

        Args:
            ids: (n, 2, 1): user, item.

        Returns:
            (n, 1).
        """
        rows = self.tables(torch.cat((ids, ids), 1))
        product = rows[:, 0] * rows[:, 1]
        deep = self.mlp(rows[:, 2:].flatten(1))
        scores: Tensor = self.score(torch.cat((product, deep), 1))
        return scores.sigmoid()
