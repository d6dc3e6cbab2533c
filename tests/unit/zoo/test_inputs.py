"""Example inputs from text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trimtab.errors import UsageError
from trimtab.graph.capture import capture
from trimtab.graph.types import ITEM_BYTES
from trimtab.zoo.inputs import example_values, parse_inputs

FORM = (
    "an input is SHAPE or DTYPE[SHAPE], either with NAME= before it; dtypes are "
    "bool, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64"
)


def refused(*texts: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_inputs(texts, device="meta")
    return str(caught.value)


# Forms


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("1,3,8,8", (1, 3, 8, 8), torch.float32),
        ("7", (7,), torch.float32),
        (" 1, 3 ", (1, 3), torch.float32),
        ("float32[2,3]", (2, 3), torch.float32),
        ("int64[1,128]", (1, 128), torch.int64),
        ("bool[4]", (4,), torch.bool),
        ("bfloat16[]", (), torch.bfloat16),
        ("uint8[1,2]", (1, 2), torch.uint8),
    ],
)
def test_forms(text: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    args, kwargs = parse_inputs([text])
    assert kwargs == {}
    assert [(tuple(each.shape), each.dtype) for each in args] == [(shape, dtype)]
    args, kwargs = parse_inputs([f"name={text}"])
    assert args == ()
    assert [(key, tuple(each.shape)) for key, each in kwargs.items()] == [
        ("name", shape)
    ]


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), max_size=5),
    dtype=st.sampled_from(sorted(ITEM_BYTES)),
    name=st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,5}", fullmatch=True),
)
def test_every_dtype_and_shape(shape: list[int], dtype: str, name: str) -> None:
    _, kwargs = parse_inputs([f"{name}={dtype}[{','.join(map(str, shape))}]"])
    assert list(kwargs) == [name]
    assert list(kwargs[name].shape) == shape
    assert kwargs[name].dtype is getattr(torch, dtype)


def test_order_is_kept() -> None:
    args, kwargs = parse_inputs(["1", "2", "b=3", "a=4"])
    assert [len(each) for each in args] == [1, 2]
    assert [(key, len(each)) for key, each in kwargs.items()] == [("b", 3), ("a", 4)]


def test_no_input_is_no_argument() -> None:
    assert parse_inputs([]) == ((), {})


# Values


@pytest.mark.parametrize(
    "dtype", [name for name in ITEM_BYTES if not name.startswith(("float", "bfloat"))]
)
def test_what_is_no_floating_point_number_is_zero(dtype: str) -> None:
    (value,), _ = parse_inputs([f"{dtype}[3,4]"])
    assert value.count_nonzero() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_floating_point_numbers_are_normal(dtype: str) -> None:
    (value,), _ = parse_inputs([f"{dtype}[100,100]"])
    # Of 10,000 draws the mean has a standard error of 1 / 100.
    assert abs(value.double().mean()) < 5 / 100
    assert abs(value.double().std() - 1) < 5 / 100


def test_the_same_text_gives_the_same_values_and_the_seed_stays() -> None:
    before = torch.get_rng_state()
    first, second = (parse_inputs(["2,3", "a=4"]) for _ in range(2))
    assert torch.equal(first[0][0], second[0][0])
    assert torch.equal(first[1]["a"], second[1]["a"])
    assert torch.equal(torch.get_rng_state(), before)
    a, b = parse_inputs(["6", "6"])[0]
    assert not torch.equal(a, b)


def test_meta_takes_no_memory() -> None:
    (value,), _ = parse_inputs(["65536,65536"], device="meta")
    assert value.device.type == "meta"
    assert value.numel() == 2**16 * 2**16


# Refusals


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "1,", ",1", "1,,2", "-1,2", "1.5", "1x3", "[1]", "(1,3)", "float32",
        "float32[1", "float32[1]]", "float32[-1]", "float32[a]", "int4[1]",
        "Float32[1]", "torch.float32[1]", "=1", "1=2", "a-b=1", "a==1", "a=b=1",
        "1,2\n3", "1\t,2", "__import__('os')", "\u0663", "\u00b2",
    ],
)  # fmt: skip
def test_another_form_is_refused(text: str) -> None:
    assert refused(text) == (
        f"input {text!r}: {FORM} (--input). Write 1,3,224,224 or ids=int64[1,128]."
    )


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_number_without_end_is_refused(digits: int) -> None:
    text = "1," + "9" * digits
    assert refused(text).startswith(f"input {text!r}: an input is SHAPE or DTYPE")


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("0", 0),
        ("1,0,3", 0),
        ("x=int64[0]", 0),
        ("65536,65536,2", 2**33),
        ("4294967297", 2**32 + 1),
        ("999999999999999999,999999999999999999", (10**18 - 1) ** 2),
    ],
)
def test_a_size_out_of_range_is_refused(text: str, elements: int) -> None:
    assert refused(text) == (
        f"input {text!r} of {elements} elements: an input has between 1 and {2**32} "
        "(--input). Give the shape of one call."
    )


def test_a_position_does_not_follow_a_name() -> None:
    assert refused("a=1", "2,3") == (
        "input '2,3': inputs without a name come before those with one (--input). "
        "Name it too, or give it first."
    )


def test_a_name_is_given_once() -> None:
    assert refused("a=1", "b=1", "a=2") == (
        "input 'a': it is given twice (--input). Give it once."
    )


# Values for a graph


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)

    def forward(self, x: Tensor, ids: Tensor, factor: float) -> Tensor:
        y: Tensor = self.table(ids)
        return (y + x) * factor


def test_every_tensor_input_of_a_graph_gets_a_value() -> None:
    ids = torch.zeros(2, dtype=torch.int64)
    inputs: tuple[Any, ...] = (torch.zeros(2, 4), ids, 2.0)
    graph = capture(_Two().eval(), inputs)
    values = example_values(graph)
    typed = {leaf.name: leaf.type for leaf in graph.inputs if leaf.type is not None}
    assert list(values) == list(typed)
    assert len(values) == 2
    x, found_ids = values.values()
    expected = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, expected)
    assert torch.equal(found_ids, ids)
