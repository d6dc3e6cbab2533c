"""Wide & Deep, for one task or several."""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor, nn

from trimtab.zoo._rec_layers import Tables, TableSource, layers, random_table
from trimtab.zoo.preset import WideDeepSizes

__all__ = ["WideDeep"]

_MIX: Final = 2_654_435_761
# Knuth's multiplier, prime: pairs spread over the rows of the wide part whatever their
# number. Times an id, which is below 2**31, it stays in int64.


@final
class WideDeep(nn.Module):
    """A linear model of crossed ids beside layers over features and rows.

    The wide part has a weight for each pair of the first two ids, as figure 4 of the
    paper crosses the installed with the shown app; pairs are hashed to a bounded number
    of weights. The deep part puts dense features and rows side by side. With several
    tasks the layers of `deep` are shared, those of `tower` and the wide weights are
    each task's own.

    Args:
        sizes: of tables and layers.
        tables: makes the tables.

    References:
        Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016 (arXiv
        1606.07792), equation 3 and figure 4; several tasks: Zhao et al., Recommending
        What Video to Watch Next, RecSys 2019, whose mixture of experts is left out, as
        in DeepRecSys.

    Example:
        >>> from trimtab.zoo.preset import sizes
        >>> with torch.device("meta"):
        ...     net = WideDeep(sizes("mtwnd", "small"))
        ...     scores = net(torch.empty(3, 512), torch.empty(3, 43, 1).long())
        >>> scores.shape
        torch.Size([3, 5])
    """

    def __init__(
        self, sizes: WideDeepSizes, tables: TableSource = random_table
    ) -> None:
        super().__init__()
        self.tables = Tables(sizes.rows, sizes.dim, source=tables)
        self.wide = Tables((sizes.cross_rows,), sizes.tasks, name="wide", source=tables)
        width = sizes.dense + len(sizes.rows) * sizes.dim
        self.deep = layers(width, sizes.deep)
        width = sizes.deep[-1] if sizes.deep else width
        self.towers = nn.ModuleList(
            layers(width, (*sizes.tower, 1), bare_last=True) for _ in range(sizes.tasks)
        )

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        """Return the probability of each task.

        Args:
            dense: (n, features).
            ids: (n, tables, 1).

        Returns:
            (n, tasks).
        """
        pairs = (ids[:, :1] * _MIX + ids[:, 1:2]) % self.wide.weight.shape[0]
        wide: Tensor = self.wide(pairs).flatten(1)
        shared = self.deep(torch.cat((dense, self.tables(ids).flatten(1)), 1))
        deep = torch.cat([tower(shared) for tower in self.towers], 1)
        return (wide + deep).sigmoid()
