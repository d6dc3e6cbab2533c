"""An operator becomes a kernel with a default schedule, or it is said why not."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import rand, randint, randn

from trimtab.frozen import FrozenDict

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.tvm.default import default_kernel


def test_pointers_are_to_reads_then_results(defaults) -> None:
    x, y = randn(3, 5), randn(5)
    made = defaults.call("maximum.default", x, y)
    kernel = defaults.kernel(made)
    assert kernel.reads == made.node.inputs
    assert kernel.parameter_bytes == (3 * 5 * 4, 5 * 4, 3 * 5 * 4)
    assert kernel.scratch_bytes == ()
    assert kernel.name == "kernel"


def test_a_tensor_that_is_read_twice_is_one_pointer(defaults) -> None:
    x = randn(4)
    made = defaults.call("mul.Tensor", x, x)
    ref = made.node.inputs[0]
    arguments = FrozenDict({**made.node.arguments, "other": ref})
    node = replace(made.node, arguments=arguments)
    kernel = default_kernel(node, made.types, name="square")
    assert not isinstance(kernel, str)
    assert kernel.reads == (ref,)
    assert kernel.parameter_bytes == (4 * 4, 4 * 4)


def test_working_memory_stands_before_the_results(defaults) -> None:
    # The places of the maxima are stored, their values are not asked for.
    kernel = defaults.agrees("argmax.default", randn(6, 7), 1)
    assert kernel.parameter_bytes == (
        6 * 7 * 4,
        *kernel.scratch_bytes,
        6 * 8,
    )
    assert kernel.scratch_bytes == (6 * 4, 6 * 4)


def test_what_only_moves_elements_takes_no_memory(defaults) -> None:
    kernel = defaults.agrees("roll.default", randn(4, 6), [1], [0])
    assert kernel.scratch_bytes == ()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("where.self", (randn(300, 200) > 0, randn(300, 200), randn(200))),
        ("sum.dim_IntList", (randn(300, 200), [0])),
        ("sum.dim_IntList", (randn(300, 200), [1])),
        ("cumsum.default", (randn(300, 200), 0)),
        ("mm.default", (randn(64, 48), randn(48, 40))),
        ("upsample_nearest2d.vec", (randn(1, 8, 40, 40), None, [2.0, 2.0])),
        ("upsample_bilinear2d.vec", (randn(1, 8, 40, 40), None, False, [1.5, 2.0])),
    ],
)
def test_large_operators_agree_with_pytorch(defaults, op, arguments, threads) -> None:
    # Coordinates in float32 are rounded in another order than PyTorch does.
    limit = 5e-5 if "bilinear" in op else 1e-5
    defaults.agrees(op, *arguments, threads=threads, limit=limit)


_ODD = torch.tensor(
    [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30]
)
_HERE = torch.tensor([0, 2, 1])


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        *(
            (f"{name}.default", (_ODD,))
            for name in (
                "sgn", "signbit", "frac", "deg2rad", "rad2deg", "hardshrink",
                "softshrink", "isposinf", "isneginf", "isfinite", "sinh", "cosh",
                "asin", "acos", "atan", "asinh", "acosh", "atanh", "log10", "exp2",
                "logit", "erfc", "erfinv", "aminmax",
            )
        ),
        *(
            (f"{name}", (_ODD, _ODD.flip(0)))
            for name in (
                "fmod.Tensor", "fmax.default", "fmin.default", "hypot.default",
                "copysign.Tensor", "heaviside.default", "clamp_min.Tensor",
                "clamp_max.Tensor", "logaddexp.default", "logaddexp2.default",
                "xlogy.Tensor",
            )
        ),
        ("mul.Tensor", (_ODD, 0.0)),
        ("logit.default", (_ODD, 0.01)),
        ("fmod.Scalar", (_ODD, -0.3)),
        ("remainder.Scalar_Tensor", (3.0, _ODD)),
        ("floor_divide.Scalar", (randint(-9, 9, (3, 4)), 4)),
        ("fmod.Tensor", (randint(-9, 9, (3, 4)), randint(1, 5, (4,)))),
        ("threshold.default", (_ODD, 0.5, 7.0)),
        ("bitwise_and.Scalar", (randint(-9, 9, (3, 4)), 6)),
        ("bitwise_or.Scalar", (randint(-9, 9, (3, 4)), 6)),
        ("bitwise_xor.Scalar", (randint(-9, 9, (3, 4)), 6)),
        ("prod.default", (randn(3, 4),)),
        ("nansum.default", (_ODD[3:].view(7, 1) / 0,)),
        ("logsumexp.default", (randn(3, 4), [1])),
        ("logsumexp.default", (_ODD.view(5, 2), [1])),
        ("logcumsumexp.default", (randn(3, 4), 1)),
        ("cumprod.default", (randn(3, 4), 0)),
        ("cummax.default", (randn(3, 4), 1)),
        ("std_mean.correction", (randn(3, 4), [1])),
        ("any.dims", (randn(3, 4) > 1, [0, 1])),
        ("all.dim", (randn(3, 4) > -1, 1)),
        ("all.dims", (randn(3, 4) > -1, [1])),
        ("count_nonzero.dim_IntList", (randint(0, 2, (3, 4)), [1])),
        ("norm.Scalar", (randn(3, 4),)),
        ("norm.ScalarOpt_dim", (randn(3, 4), 1.0, [1])),
        ("addmv.default", (randn(3), randn(3, 4), randn(4))),
        ("addbmm.default", (randn(3, 2), randn(5, 3, 4), randn(5, 4, 2))),
        ("cdist.default", (randn(3, 4), randn(5, 4))),
        ("upsample_linear1d.vec", (randn(1, 2, 5), None, False, [2.0])),
        ("upsample_nearest3d.vec", (randn(1, 1, 2, 3, 2), None, [2.0] * 3)),
        ("upsample_trilinear3d.vec", (randn(1, 1, 2, 3, 2), None, True, [2.0] * 3)),
        ("reflection_pad3d.default", (randn(1, 3, 3, 3), [1] * 6)),
        ("replication_pad1d.default", (randn(2, 3), [1, 2])),
        ("replication_pad3d.default", (randn(1, 3, 3, 3), [1] * 6)),
        ("diag_embed.default", (randn(2, 3),)),
        ("rot90.default", (randn(2, 3),)),
        ("searchsorted.Tensor", (torch.tensor([0.0, 1.0, 2.0]), randn(5))),
        ("index_fill.int_Scalar", (randn(4, 3), 0, _HERE, 1.5)),
        ("index_copy.default", (randn(4, 3), 0, _HERE, randn(3, 3))),
        ("scatter_reduce.two", (randn(4), 0, _HERE, randn(3), "amax")),
        ("masked_scatter.default", (randn(4), randn(4) > 0, randn(4))),
        ("diagonal_scatter.default", (randn(3, 3), randn(3))),
    ],
)  # fmt: skip
def test_the_rarer_operators_agree_or_are_left_to_pytorch(
    defaults, op, arguments
) -> None:
    reason = defaults.settled(op, *arguments, limit=5e-5)
    words = ("no formula", "take it apart", "reports")
    assert not reason or any(each in reason for each in words)


def test_threads_share_the_outer_loops(defaults) -> None:
    def text(threads: int, *shape: int) -> str:
        made = defaults.call("gt.Scalar", randn(*shape), 0.0)
        return str(defaults.kernel(made, threads).function.script())

    assert "T.parallel" in text(2, 256, 256)
    assert "T.parallel" not in text(1, 256, 256)
    assert "T.parallel" not in text(2, 16, 16)  # to wake threads takes longer


def test_a_sum_has_its_last_axis_inside_where_that_reads_neighbours(defaults) -> None:
    def script(dim: int) -> str:
        made = defaults.call("amax.default", randn(32, 16), [dim])
        return str(defaults.kernel(made).function.script())

    # Over rows: 32 steps of a row of 16. Over columns: each sum by itself.
    assert "T.grid(32, 16)" in script(0)
    assert "T.grid(16, 32)" not in script(1)


@pytest.mark.parametrize(
    ("op", "arguments", "reason"),
    [
        ("sort.default", (randn(5),), "there is no formula for aten.sort.default"),
        ("add.Tensor", (randn(2).half(), randn(2).half()), "no kernels of float16"),
        ("clone.default", (randn(3, 0),), "float32[3,0] has 0 elements"),
        (
            "one_hot.default",
            (torch.tensor([0, 2]),),
            "PyTorch does not take it apart: aten._local_scalar_dense.default",
        ),
        (
            "upsample_bicubic2d.vec",
            (randn(1, 1, 4, 4), None, False, [2.0, 2.0]),
            "primitives",
        ),
    ],
)
def test_refusals_say_why(defaults, op, arguments, reason) -> None:
    assert reason in defaults.refused(op, *arguments)


def test_places_outside_are_refused_as_by_pytorch(defaults) -> None:
    made = defaults.call("index_select.default", randn(5, 2), 0, torch.tensor([4, 0]))
    error = defaults.error(made, x1=torch.tensor([0, 5]))
    assert "a place is not in 0..4" in error.rule
    assert (
        "a place is not in 0..4" in defaults.error(made, x1=torch.tensor([-1, 0])).rule
    )


def test_compilation_of_an_operator_is_short() -> None:
    # The table of tensor intrinsics takes 22 s to import: no kernel needs it.
    code = """
import sys, torch, trimtab
network, inputs = torch.nn.GLU().eval(), (torch.zeros(4, 6),)
trimtab.compile(network, inputs, machine="milan", cache=False)
print("tvm" in sys.modules, "tvm.s_tir.tensor_intrin" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_a_long_sum_keeps_its_digits(defaults) -> None:
    # One by one in float32, 1 million times 0.1 is off by 1 %.
    defaults.agrees("sum.default", torch.full((1_000_000,), 0.1), limit=1e-6)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("glu.default", (randn(3, 8),)),
        ("group_norm.default", (randn(2, 4, 5, 6), 2, randn(4), randn(4), 1e-5)),
        ("log_softmax.int", (randn(3, 7), 1)),
        ("prelu.default", (randn(2, 4, 5), rand(4))),
        (
            "conv_transpose2d.input",
            (randn(1, 3, 5, 6), randn(3, 2, 3, 3), randn(2), [2, 2]),
        ),
        ("conv1d.default", (randn(2, 3, 9), randn(4, 3, 3), randn(4))),
        ("conv3d.default", (randn(1, 2, 4, 5, 6), randn(3, 2, 2, 2, 2))),
        ("einsum.default", ("bij,bkj->bik", [randn(2, 3, 4), randn(2, 5, 4)])),
        (
            "grid_sampler_2d.default",
            (randn(1, 2, 5, 6), rand(1, 3, 4, 2) - 0.5, 0, 0, False),
        ),
        ("pixel_shuffle.default", (randn(1, 8, 3, 4), 2)),
        ("one_hot.default", (randint(0, 5, (3, 2)), 5)),
        ("tril.default", (randn(4, 5), 1)),
        ("layer_norm.default", (randn(3, 8), [8], randn(8), randn(8))),
        ("adaptive_avg_pool2d.default", (randn(1, 2, 7, 9), [3, 4])),
        ("embedding.default", (randn(6, 3), randint(0, 6, (2, 4)))),
    ],
)
def test_compound_operators_agree_with_pytorch(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments, limit=2e-5)


def test_sizes_of_working_memory_are_those_of_its_tensors(defaults) -> None:
    kernel = defaults.agrees("var_mean.correction", randn(4, 50), [1], correction=1)
    # Sums of elements and of squares, in float64.
    assert 4 * 8 in kernel.scratch_bytes
    assert all(size % 4 == 0 and math.isfinite(size) for size in kernel.scratch_bytes)
