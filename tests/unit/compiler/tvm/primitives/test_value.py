"""Tensors as functions of indices: stored where that pays, and only there."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("tvm", reason="needs the extra `compile`")

from tvm import te, tirx

from trimtab.compiler.tvm.primitives.value import (
    PRIMITIVES,
    Scope,
    Value,
    axis_of,
    derived,
    number,
    primitive,
    unflatten,
)


def _value(cost: int, *shape: int) -> Value:
    return Value(
        shape=shape, dtype="float32", at=lambda i: number(1, "float32"), cost=cost
    )


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (5, 1, 2)])
def test_a_place_has_the_indices_of_row_major_order(shape) -> None:
    for place in range(math.prod(shape)):
        found = unflatten(tirx.IntImm("int32", place), shape)
        numbers = [int(each) for each in found]
        back = 0
        for size, each in zip(shape, numbers, strict=True):
            assert 0 <= each < size
            back = back * size + each
        assert back == place


def test_negative_dimensions_count_from_the_end() -> None:
    assert [axis_of(dim, 4) for dim in (-4, -1, 0, 3)] == [0, 3, 0, 3]


def test_long_expressions_are_stored() -> None:
    scope = Scope()
    short, long = _value(12, 8), _value(65, 8)
    assert scope.shared(short, uses=5) is short
    assert scope.shared(long, uses=1).tensor is not None
    assert scope.shared(long, uses=1).cost == 0
    middling = _value(13, 8)
    assert scope.shared(middling, uses=1) is middling
    assert scope.shared(middling, uses=2).tensor is not None


def test_what_is_read_over_and_over_is_stored() -> None:
    scope = Scope()
    value = _value(2, 8)
    assert scope.spread(value, 4 * 8 - 1) is value
    assert scope.spread(value, 4 * 8).tensor is not None
    load = _value(0, 8)
    assert scope.spread(load, 1000 * 8) is load


def test_a_stored_value_is_not_stored_again() -> None:
    scope = Scope()
    tensor = te.placeholder((2, 3), "float32", "x")
    value = scope.value(tensor)
    assert (value.shape, value.dtype, value.elements) == ((2, 3), "float32", 2 * 3)
    assert scope.tensor(value).same_as(tensor)
    other = derived(value, shape=(3, 2), at=lambda i: value.at([i[1], i[0]]))
    assert other.tensor is None
    assert not scope.tensor(other).same_as(tensor)


def test_names_are_unique() -> None:
    scope = Scope()
    assert scope.name("a") != scope.name("a")


def test_an_operator_is_registered_under_all_its_names() -> None:
    @primitive("test.one", "test.two")
    def formula(scope: Scope, kind: object, value: Value) -> Value:
        return value

    try:
        assert PRIMITIVES["test.one"] is PRIMITIVES["test.two"] is formula
    finally:
        del PRIMITIVES["test.one"], PRIMITIVES["test.two"]
