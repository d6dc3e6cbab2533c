"""What a family asks for whose time is that of its bytes and its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trimtab.compiler.nest import Access, Body, Nest, Part

__all__ = ["asked"]


def asked(work: Any, points: Sequence[Any], *, lanes: int) -> Nest:
    """Return what all schedules ask for: each byte once, and the arithmetic.

    Args:
        work: with its bytes and operations.
        points: the schedules, among which it makes no difference.
        lanes: float32 elements of a vector.
    """
    del points
    read, written = float(work.read_bytes), float(work.write_bytes)
    body = Body(
        others=work.flops / lanes,
        loads=read / 4 / lanes,
        stores=written / 4 / lanes,
    )
    return Nest(
        loops=(),
        parts=(Part(body=body, steps=1.0),),
        accesses=(
            Access(name="read", axes=((read, {}),), item_bytes=1.0, limit=(read,)),
            Access(
                name="written",
                axes=((written, {}),),
                item_bytes=1.0,
                limit=(written,),
                written=True,
            ),
        ),
        flops=float(work.flops),
    )
