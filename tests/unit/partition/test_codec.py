"""Codecs: what comes back, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError, UsageError
from trimtab.graph.types import TensorType
from trimtab.partition.codec import CODECS, Encoded, codec, size_of

zstandard = pytest.importorskip("zstandard")
pytest.importorskip("lz4.block")


def kind(value):
    return TensorType(tuple(value.shape), str(value.dtype).removeprefix("torch."))


@pytest.mark.parametrize("name", CODECS)
@given(
    numbers=st.lists(
        st.floats(-1e4, 1e4, width=32), min_size=0, max_size=40
    )
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_numbers_come_back_within_their_steps(name, numbers):
    value = torch.tensor(numbers, dtype=torch.float32)
    made = codec(name).encode(value)
    back = codec(name).decode(made, kind(value))
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    error = (back - value).abs()
    if made.form == "raw":
        assert torch.equal(back, value)
    elif made.form in ("int8", "int4"):
        assert float(error.max()) <= 0.5 * made.step + 1e-3
    else:
        relative = 2.0 ** (-10 if made.form == "fp16" else -8)
        assert bool((error <= relative * value.abs() + 1e-7).all())


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6).reshape(2, 3),
        torch.tensor([True, False]),
        torch.tensor([1.0, math.inf]),
        torch.tensor([math.nan, -math.inf, 0.0]),
        torch.zeros(0, 4),
        torch.tensor(2.5),
        torch.full((3,), 7.0),
        torch.randn(2, 3, 5).transpose(0, 2),
        torch.randn(5, dtype=torch.float64),
        torch.randn(5).bfloat16(),
    ],
    ids=lambda each: f"{each.dtype}{list(each.shape)}",
)
def test_every_value_comes_back(name, value):
    made = codec(name).encode(value)
    back = codec(name).decode(made, kind(value))
    assert back.shape == value.shape
    assert back.dtype == value.dtype
    if not value.is_floating_point() or not bool(value.isfinite().all()):
        same = (back == value) | ((back != back) & (value != value))
        assert bool(same.all())
        if name.startswith(("bf16", "fp16")):
            return
        assert made.form == "raw"
    elif value.numel() and bool((value == value.reshape(-1)[0]).all()):
        assert torch.allclose(back, value, rtol=1e-2)


def test_sizes_are_those_of_the_forms():
    value = torch.randn(3, 5)
    for form, size in {
        "raw": 60, "fp16": 30, "bf16": 30, "int8": 15, "int4": 8,
    }.items():  # fmt: skip
        assert len(codec(form).encode(value).payload) == size
        assert size_of(form, kind(value)) == size


def test_what_fp16_cannot_hold_goes_as_it_is():
    value = torch.tensor([1e6, 1.0])
    made = codec("fp16").encode(value)
    assert made.form == "raw"
    assert torch.equal(codec("fp16").decode(made, kind(value)), value)


@pytest.mark.parametrize("name", CODECS)
def test_bytes_that_are_no_such_value_are_refused(name):
    value = torch.randn(64)
    made = codec(name).encode(value)
    longer = kind(torch.zeros(10**9, device="meta"))
    payloads = [b"", made.payload[:-1], made.payload + b"x", b"\x00" * 32]
    for payload in payloads:
        if name in ("int4", "int4+lz4", "int4+zstd") and payload == b"\x00" * 32:
            continue  # is one
        wrong = Encoded(form=made.form, low=made.low, step=made.step, payload=payload)
        with pytest.raises(DataError, match="link"):
            codec(name).decode(wrong, kind(value))
    with pytest.raises(DataError):
        codec(name).decode(made, longer)


def test_a_bomb_is_refused_by_the_length_it_states():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(200_000_000))
    assert len(bomb) < 20_000
    wrong = Encoded(form="raw", low=0.0, step=0.0, payload=bomb)
    with pytest.raises(DataError, match="200000000 bytes"):
        codec("raw+zstd").decode(wrong, TensorType((16,), "float32"))


def test_other_forms_and_scales_are_refused():
    kind_ = TensorType((4,), "float32")
    with pytest.raises(DataError, match="form"):
        codec("fp16").decode(
            Encoded(form="int8", low=0, step=1, payload=b"1234"), kind_
        )
    with pytest.raises(DataError, match="not finite"):
        codec("int8").decode(
            Encoded(form="int8", low=math.nan, step=1, payload=b"1234"), kind_
        )
    with pytest.raises(UsageError, match="known are"):
        codec("int7")
