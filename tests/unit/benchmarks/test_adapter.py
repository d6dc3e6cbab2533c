"""Schedules are counted whole, or not at all."""

from __future__ import annotations

from typing import NamedTuple

import pytest

pytest.importorskip("tvm", reason="needs the extra `compile`")

from benchmarks.compile import adapter

from trimtab.compiler.evolve import Knobs


class _Point(NamedTuple):
    a: int
    b: int


def test_a_space_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Knobs(
        choices={"a": range(10), "b": range(7)},
        make=_Point,
        legal=lambda point: point.a > point.b,
    )
    # Pairs a > b with b < 7: 9 + 8 + ... + 3.
    assert adapter._count(space) == sum(range(3, 10))
    monkeypatch.setattr(adapter, "_COUNTED", 69)
    with pytest.raises(ValueError, match="a space of 70 combinations: at most 69"):
        adapter._count(space)
