"""Deep interest evolution network: a GRU, attention, and a GRU that attention gates."""

from __future__ import annotations

from typing import Final, final

import torch
from torch import Tensor, nn

from trimtab.zoo._rec_layers import Tables, TableSource, layers, random_table
from trimtab.zoo.preset import DienSizes

__all__ = ["Augru", "Dien"]

_NEVER: Final = -1e9
# The score of a place without an item. Finite: a user without any history gets equal
# weights, which are zeroed afterwards, instead of 0 / 0.


@final
class Augru(nn.Module):
    """GRU with attentional update gate.

    Attention a scales the update gate u of a GRU: the next state is
    (1 - a u) h + a u n, n being the new content. That is h + a (g - h), where g is the
    next state of an ordinary GRU: one cell and one interpolation a step. A place of
    weight zero leaves the state as it is. (The update gate of torch is 1 - u, which
    changes the sign of some weights and nothing else.)

    Args:
        inputs: width of what comes in.
        hidden: units.

    References:
        Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction,
        AAAI 2019 (arXiv 1809.03672), interest evolving layer.

    Example:
        >>> cell = Augru(4, 3)
        >>> state = cell(torch.randn(2, 7, 4), torch.zeros(2, 7))
        >>> bool(state.any())
        False
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(inputs, hidden)

    def forward(self, steps: Tensor, attention: Tensor) -> Tensor:
        """Return the last state.

        Args:
            steps: (n, length, inputs).
            attention: (n, length), from 0 to 1.

        Returns:
            (n, hidden).
        """
        state = steps.new_zeros(steps.shape[0], self.cell.hidden_size)
        for step, weight in zip(
            steps.unbind(1), attention[:, :, None].unbind(1), strict=True
        ):
            state = torch.lerp(state, self.cell(step, state), weight)
        return state


@final
class Dien(nn.Module):
    """States of a GRU over the history, their match with the item, an AUGRU, layers.

    The paper offers three ways to bring attention into the second recurrence; this is
    the one it prefers, AUGRU. Its auxiliary loss concerns training only and is left
    out. PReLU stands where the paper may have Dice.

    Args:
        sizes: of tables and layers.
        tables: makes the tables.

    References:
        Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction,
        AAAI 2019 (arXiv 1809.03672).

    Example:
        >>> from trimtab.zoo.preset import sizes
        >>> with torch.device("meta"):
        ...     net = Dien(sizes("dien", "small"))
        ...     chances = net(torch.empty(3, 3, 1).long(), torch.empty(3, 40).long())
        >>> chances.shape
        torch.Size([3, 2])
    """

    def __init__(self, sizes: DienSizes, tables: TableSource = random_table) -> None:
        super().__init__()
        self.tables = Tables(sizes.rows, sizes.dim, source=tables)
        self.extractor = nn.GRU(sizes.dim, sizes.hidden, batch_first=True)
        self.match = nn.Linear(sizes.dim, sizes.hidden, bias=False)
        self.evolution = Augru(sizes.hidden, sizes.hidden)
        width = sizes.hidden + len(sizes.rows) * sizes.dim
        self.top = layers(width, sizes.top, activation=nn.PReLU, bare_last=True)

    def forward(self, ids: Tensor, history: Tensor) -> Tensor:
        """Return the probabilities of the classes.

        Args:
            ids: (n, tables, 1): the item, then user and context.
            history: (n, length) items in order of time, 0 behind the last.

        Returns:
            (n, classes), each row adds up to one.
        """
        rows: Tensor = self.tables(ids)
        states, _ = self.extractor(self.tables.of_first(history))
        wanted: Tensor = self.match(rows[:, 0])
        scores = torch.bmm(states, wanted[:, :, None]).flatten(1)
        nothing = history == 0
        attention = scores.masked_fill(nothing, _NEVER).softmax(1)
        interest = self.evolution(states, attention.masked_fill(nothing, 0.0))
        classes: Tensor = self.top(torch.cat((interest, rows.flatten(1)), 1))
        return classes.softmax(1)
