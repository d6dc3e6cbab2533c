"""Deep interest network: attention over what a user did before."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from trimtab.zoo._rec_layers import Tables, TableSource, layers, random_table
from trimtab.zoo.preset import DinSizes

__all__ = ["Din"]


@final
class Din(nn.Module):
    """The history, weighed by the item in question, added up, then layers.

    Weights are not normalised (section 4.3: the intensity of interests is to remain).
    The activation unit sees both vectors, their difference and their product element by
    element; the paper names the vectors and their "out product", the authors' code has
    these four. PReLU stands where the paper may have Dice.

    Args:
        sizes: of tables and layers.
        tables: makes the tables.

    References:
        Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018
        (arXiv 1706.06978), equation 3 and figure 2.

    Example:
        >>> from trimtab.zoo.preset import sizes
        >>> with torch.device("meta"):
        ...     net = Din(sizes("din", "small"))
        ...     chances = net(torch.empty(3, 4, 1).long(), torch.empty(3, 250).long())
        >>> chances.shape
        torch.Size([3, 2])
    """

    def __init__(self, sizes: DinSizes, tables: TableSource = random_table) -> None:
        super().__init__()
        self.tables = Tables(sizes.rows, sizes.dim, source=tables)
        self.attention = layers(
            4 * sizes.dim, (*sizes.attention, 1), activation=nn.PReLU, bare_last=True
        )
        width = (1 + len(sizes.rows)) * sizes.dim
        self.top = layers(width, sizes.top, activation=nn.PReLU, bare_last=True)

    def forward(self, ids: Tensor, history: Tensor) -> Tensor:
        """Return the probabilities of the classes.

        Args:
            ids: (n, tables, 1): the item, then user and context.
            history: (n, length) items, 0 where there is none.

        Returns:
            (n, classes), each row adds up to one.
        """
        rows: Tensor = self.tables(ids)
        past = self.tables.of_first(history)
        item = rows[:, :1].expand_as(past)
        weights: Tensor = self.attention(
            torch.cat((past, item, past - item, past * item), 2)
        )
        weights = weights.masked_fill((history == 0)[:, :, None], 0.0)
        interest = torch.bmm(weights.transpose(1, 2), past).flatten(1)
        scores: Tensor = self.top(torch.cat((interest, rows.flatten(1)), 1))
        return scores.softmax(1)
