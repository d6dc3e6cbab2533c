"""DLRM, of which RMC1, RMC2 and RMC3 are three shapes."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from trimtab.zoo._rec_layers import Tables, TableSource, layers, random_table
from trimtab.zoo.preset import DlrmSizes

__all__ = ["Dlrm"]


@final
class Dlrm(nn.Module):
    """Dense layers, sums of rows, their interaction, layers, a sigmoid.

    The interaction is the paper's (products of all pairs of vectors, beside the dense
    one) or plain concatenation, which the code of DeepRecSys has.

    Args:
        sizes: of tables and layers.
        tables: makes the tables.

    References:
        Naumov et al., Deep Learning Recommendation Model for Personalization and
        Recommendation Systems, 2019 (arXiv 1906.00091), section 2.2; the three shapes:
        Gupta et al., The Architectural Implications of Facebook's DNN-based
        Personalized Recommendation, HPCA 2020 (arXiv 1906.03109).

    Example:
        >>> from trimtab.zoo.preset import sizes
        >>> with torch.device("meta"):
        ...     net = Dlrm(sizes("rmc1", "paper"))
        ...     scores = net(torch.empty(3, 256), torch.empty(3, 10, 80).long())
        >>> scores.shape
        torch.Size([3, 1])
    """

    pairs: Tensor

    def __init__(self, sizes: DlrmSizes, tables: TableSource = random_table) -> None:
        super().__init__()
        self.tables = Tables(sizes.rows, sizes.dim, source=tables)
        self.bottom = layers(sizes.dense, sizes.bottom)
        self.interaction = sizes.interaction
        vectors = len(sizes.rows) + 1
        if sizes.interaction == "dot":
            # Each pair once: below the diagonal, as places of the flattened products.
            row, column = torch.tril_indices(vectors, vectors, -1)
            self.register_buffer("pairs", row * vectors + column, persistent=False)
            width = sizes.bottom[-1] + vectors * (vectors - 1) // 2
        else:
            width = sizes.bottom[-1] + len(sizes.rows) * sizes.dim
        self.top = layers(width, sizes.top, bare_last=True)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        """Return the probability of a click.

        Args:
            dense: (n, features).
            ids: (n, tables, lookups).

        Returns:
            (n, 1).
        """
        features: Tensor = self.bottom(dense)
        rows: Tensor = self.tables(ids)
        if self.interaction == "dot":
            vectors = torch.cat((features[:, None], rows), 1)
            products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
            met = products.index_select(1, self.pairs)
        else:
            met = rows.flatten(1)
        scores: Tensor = self.top(torch.cat((features, met), 1))
        return scores.sigmoid()
