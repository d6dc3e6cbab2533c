"""What each operator of the graph becomes, one kind of operator a file.

A lowering adds the tasks of a group through the planner and says whether it could; what
none takes is left to a default schedule or to PyTorch (`Planner.fallback`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trimtab.compiler.groups import Group
from trimtab.compiler.lowerings import (
    attention,
    convolution,
    einsum,
    images,
    product,
    recurrent,
    rows,
    tables,
)
from trimtab.compiler.plan import Planner

__all__ = ["LOWERINGS"]

LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    **attention.LOWERINGS,
    **convolution.LOWERINGS,
    **einsum.LOWERINGS,
    **images.LOWERINGS,
    **product.LOWERINGS,
    **recurrent.LOWERINGS,
    **rows.LOWERINGS,
    **tables.LOWERINGS,
}
"""By the anchor's operator."""
