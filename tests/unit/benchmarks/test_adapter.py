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


def test_targets_do_without_what_they_are_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "llvm_cpu", lambda: "znver5")
    for name, bits, isa in (("avx2", 256, "x86-64-v3"), ("sse42", 128, "x86-64-v2")):
        _, described, cpu = adapter.TARGETS[name]
        assert described().name == "turin"  # the catalogue's, nothing measured here
        assert described().core.simd_bits == bits
        assert described().core.isa == cpu == isa
    monkeypatch.setattr(adapter, "llvm_cpu", lambda: "unheard of")
    assert adapter.TARGETS["avx2"][1]().name == "milan"
