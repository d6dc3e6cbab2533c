"""A default schedule or PyTorch: by arithmetic, from the work of the operator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.compiler import fallback
from trimtab.compiler.fallback import Alternatives, Operator, operator_of
from trimtab.compiler.model import Timing, timing_of
from trimtab.frozen import FrozenDict
from trimtab.graph.types import Node, Ref, TensorType
from trimtab.hardware.load import machine

TIMING = replace(timing_of(machine("milan")), frequency_hz=1e9, lanes=8)
DISPATCH_S = 20e-6
CALL = 60_000  # cycles of a call of PyTorch: three times that, at 1 GHz


def alternatives(operator: Operator, timing: Timing) -> Alternatives:
    return fallback.alternatives(operator, timing, dispatch_s=DISPATCH_S)


def _operator(op, result, *shapes, dtype="float32", **arguments):
    refs = [Ref(f"value{i}", i) for i in range(len(shapes))]
    types = {
        ref: TensorType(shape, dtype) for ref, shape in zip(refs, shapes, strict=True)
    }
    given = {
        key: refs[value]
        if isinstance(value, int) and key in ("self", "mat2")
        else value
        for key, value in arguments.items()
    }
    node = Node(
        name="node", op=op, arguments=FrozenDict(given),
        outputs=(TensorType(result, dtype),),
    )  # fmt: skip
    return operator_of(node, types)


def test_what_moves_elements_takes_its_bytes():
    operator = _operator("aten.flip.default", (64, 100), (64, 100), self=0, dims=(0,))
    found = alternatives(operator, TIMING)
    read = written = 4 * 64 * 100
    assert found.default_s == pytest.approx((read + written) / 16 / 1e9)
    # PyTorch's result is new memory, and copied.
    pytorch = CALL + (read + written + 2 * written) / 4
    assert found.pytorch_s == pytest.approx(pytorch / 1e9)
    assert found.default_is_faster


def test_operations_of_a_product_wait_for_one_another():
    operator = _operator("aten.mm.default", (3, 5), (3, 4), (4, 5), self=0, mat2=1)
    found = alternatives(operator, TIMING)
    flops, written = 2 * 3 * 4 * 5, 4 * 3 * 5
    traffic = 4 * (3 * 4 + 4 * 5) + written
    assert found.default_s == pytest.approx((traffic / 16 + 2.5 * flops) / 1e9)
    assert found.pytorch_s == pytest.approx(
        (CALL + (traffic + 2 * written) / 4 + flops / 8) / 1e9
    )


def test_functions_wait_and_single_operations_do_not():
    n = 1000
    sine = alternatives(_operator("aten.sin.default", (n,), (n,), self=0), TIMING)
    plain = alternatives(_operator("aten.neg.default", (n,), (n,), self=0), TIMING)
    assert plain.default_s == pytest.approx(2 * 4 * n / 16 / 1e9)
    # Ten operations an element, nine of them after the first.
    assert sine.default_s - plain.default_s == pytest.approx(9 * n * 2.5 / 1e9)


def test_resampling_is_done_in_vectors():
    shapes = ((1, 2, 8, 8), (1, 2, 4, 4))
    operator = _operator(
        "aten.upsample_nearest2d.vec", *shapes, input=Ref("value0"), self=0,
        output_size=None, scale_factors=(2.0, 2.0),
    )  # fmt: skip
    written, read = 4 * 2 * 64, 4 * 2 * 16
    flops = 2 * 2 * 64
    assert alternatives(operator, TIMING).default_s == pytest.approx(
        ((written + read) / 16 + flops / 2) / 1e9
    )


def test_a_view_that_copies_reads_and_writes():
    operator = _operator("aten.permute.default", (5, 3), (3, 5), self=0, dims=(1, 0))
    assert alternatives(operator, TIMING).default_s == pytest.approx(
        2 * 4 * 15 / 16 / 1e9
    )


def test_large_products_and_functions_stay_with_pytorch():
    n = 1 << 20
    large = _operator("aten.sin.default", (n,), (n,), self=0)
    small = _operator("aten.sin.default", (100,), (100,), self=0)
    assert not alternatives(large, TIMING).default_is_faster
    assert alternatives(small, TIMING).default_is_faster


def test_a_tie_is_no_call_of_pytorch():
    assert Alternatives(default_s=1.0, pytorch_s=1.0).default_is_faster


def test_calls_are_equal_wherever_they_stand():
    kind = TensorType((2, 3), "float32")

    def call(name, value, **more):
        node = Node(
            name=name, op="aten.add.Scalar", module=f"module.{name}",
            arguments=FrozenDict({"self": Ref(value), "other": 2, **more}),
            outputs=(kind,),
        )  # fmt: skip
        return operator_of(node, {Ref(value): kind, Ref("unused"): kind})

    assert call("a", "x") == call("b", "y")
    assert hash(call("a", "x")) == hash(call("b", "y"))
    assert call("a", "x") != call("a", "x", alpha=1)
    assert call("a", "x", alpha=1) != call("a", "x", alpha=1.0)
    assert call("a", "x", alpha=1) != call("a", "x", alpha=True)
    assert call("a", "x").text == (
        "aten.add.Scalar(self=%x0, other=2) of float32[2,3] gives float32[2,3]"
    )


def test_a_call_is_a_network():
    kind = TensorType((2, 3), "float32")
    node = Node(
        name="cut", op="aten.split.Tensor", outputs=(kind, kind),
        arguments=FrozenDict({"self": Ref("x", 1), "split_size": 2}),
    )  # fmt: skip
    graph = operator_of(node, {Ref("x", 1): TensorType((4, 3), "float32")}).graph
    assert [leaf.name for leaf in graph.inputs] == ["x0"]
    assert graph.outputs == (Ref("operator", 0), Ref("operator", 1))


def test_a_call_of_pytorch_costs_what_the_machine_says():
    operator = _operator("aten.neg.default", (8,), (8,), self=0)
    slow, fast = (
        fallback.alternatives(operator, TIMING, dispatch_s=each)
        for each in (80e-6, 20e-6)
    )
    assert slow.default_s == fast.default_s
    assert slow.pytorch_s - fast.pytorch_s == pytest.approx(3 * (80e-6 - 20e-6))
