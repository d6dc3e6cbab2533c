"""The recommendation networks of DeepRecSys, in plain torch.

Eight networks in three sizes (`trimtab.zoo.preset`). Batch is axis 0 of every input and
output, one item a row; features are float32, ids int64; outputs are probabilities, as
in the papers. Written from the papers' equations. All of them can be built under
``torch.device("meta")``, and take their tables from outside, so that the processes of a
host can share one copy (`trimtab.zoo.tables`).
"""

from __future__ import annotations

from torch import nn

from trimtab.zoo._rec_dien import Dien
from trimtab.zoo._rec_din import Din
from trimtab.zoo._rec_dlrm import Dlrm
from trimtab.zoo._rec_layers import TableSource, random_table
from trimtab.zoo._rec_ncf import Ncf
from trimtab.zoo._rec_wide_deep import WideDeep
from trimtab.zoo.preset import (
    PRESETS,
    AbstractSizes,
    DienSizes,
    DinSizes,
    DlrmSizes,
    NcfSizes,
    WideDeepSizes,
    sizes,
)

__all__ = [
    "build",
    "dien",
    "din",
    "mtwnd",
    "ncf",
    "rmc1",
    "rmc2",
    "rmc3",
    "wnd",
]


def build(numbers: AbstractSizes, tables: TableSource = random_table) -> nn.Module:
    """Build a recommendation network.

    Args:
        numbers: its sizes, which also decide the kind.
        tables: makes its tables, by name, rows and columns; random ones by default.

    Returns:
        A module in training mode.

    Raises:
        UsageError: `tables` gave another shape or type.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     net = build(sizes("rmc1", "reference"))
        >>> 4 * net.tables.weight.numel()
        4096000000
    """
    match numbers:
        case NcfSizes():
            return Ncf(numbers, tables)
        case WideDeepSizes():
            return WideDeep(numbers, tables)
        case DlrmSizes():
            return Dlrm(numbers, tables)
        case DinSizes():
            return Din(numbers, tables)
        case DienSizes():
            return Dien(numbers, tables)
        case _:
            raise TypeError(f"no network has sizes of type {type(numbers).__name__}")


def ncf(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build neural collaborative filtering: (n, 2, 1) ids to (n, 1).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("ncf", preset))


def wnd(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build Wide & Deep: (n, 512) features, (n, tables, 1) ids to (n, 1).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("wnd", preset))


def mtwnd(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build Wide & Deep for 5 tasks: (n, 512) features, (n, tables, 1) ids to (n, 5).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("mtwnd", preset))


def rmc1(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build DLRM-RMC1, few tables, many lookups: features and ids to (n, 1).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("rmc1", preset))


def rmc2(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build DLRM-RMC2, many tables, many lookups: features and ids to (n, 1).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("rmc2", preset))


def rmc3(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build DLRM-RMC3, wide dense layers: features and ids to (n, 1).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("rmc3", preset))


def din(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build the deep interest network: ids and history to (n, 2).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("din", preset))


def dien(*, preset: str = PRESETS[0]) -> nn.Module:
    """Build the deep interest evolution network: ids and history to (n, 2).

    Args:
        preset: ``paper``, ``reference`` or ``small``.

    Raises:
        UsageError: no such preset.
    """
    return build(sizes("dien", preset))
