"""The protocol: what is asked for, what is refused, and what is answered."""

import contextlib
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import DataError, TrimtabError, UsageError
from trimtab.graph.types import TensorType
from trimtab.runtime.inference import parse, render
from trimtab.runtime.signature import DATATYPES, Model, Port

X = Port(name="x", type=TensorType((2, 3), "float32"))
K = Port(name="k", type=TensorType((2,), "int8"))
Y = Port(name="output", type=TensorType((2,), "float32"))
MODEL = Model(name="net", inputs=(X, K), outputs=(Y,))
SIX = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def asked(x=None, k=None, **more):
    """Return a right body, changed."""
    first = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": SIX, **(x or {})}
    second = {
        "name": "k",
        "shape": [2],
        "datatype": "INT8",
        "data": [1, 2],
        **(k or {}),
    }
    return {"inputs": [first, second], **more}


def as_bytes(body, rest=b""):
    head = json.dumps(body).encode()
    return head + rest, len(head) if rest else None


def test_a_right_body_becomes_tensors():
    found = parse(MODEL, as_bytes(asked(id="7"))[0])
    assert found.id == "7"
    assert torch.equal(found.values["x"], torch.tensor(SIX).reshape(2, 3))
    assert torch.equal(found.values["k"], torch.tensor([1, 2], dtype=torch.int8))
    assert found.outputs == {"output": False}


def test_data_may_be_nested_as_the_shape():
    body = asked({"data": [SIX[:3], SIX[3:]]})
    assert parse(MODEL, as_bytes(body)[0]).values["x"].flatten().tolist() == SIX


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ([], "body", "_Body"),
        ({}, "inputs", "required"),
        (asked(surplus=1), "surplus", "Unexpected"),
        (asked(id=7), "id", "valid string"),
        ({"inputs": "x"}, "inputs", "valid list"),
        ({"inputs": [7]}, "inputs.0", "7"),
        ({"inputs": asked()["inputs"][:1]}, "inputs", "no input 'k'"),
        ({"inputs": asked()["inputs"][:1] * 2}, "inputs.1.name", "given twice"),
        (asked({"name": "z"}), "inputs.0.name", "there are x, k"),
        (asked({"name": "z" * 2000}), "inputs.0.name", "at most"),
        (asked({"datatype": "FP64"}), "inputs.0.datatype", "takes FP32"),
        (asked({"shape": [1, 3]}), "inputs.0.shape", "takes [2, 3]"),
        (asked({"shape": [2, 3, 1]}), "inputs.0.shape", "takes [2, 3]"),
        (asked({"shape": [2, -3]}), "inputs.0.shape.1", "greater than"),
        (asked({"shape": [2, 3.0]}), "inputs.0.shape.1", "valid integer"),
        (asked({"shape": [2**60, 3]}), "inputs.0.shape.0", "less than"),
        (asked({"data": None}), "inputs.0.data", "no data"),
        (asked({"data": SIX[:5]}), "inputs.0.data", "5 elements where there are 2"),
        (asked({"data": [*SIX, 1.0]}), "inputs.0.data", "7 elements"),
        (asked({"data": [SIX[:3], SIX[3:5]]}), "inputs.0.data", "2 elements"),
        (asked({"data": [SIX[:3], 4.0]}), "inputs.0.data", "no elements"),
        (asked({"data": {"a": 1}}), "inputs.0.data", "list"),
        (asked({"data": [*SIX[:5], "6"]}), "inputs.0.data", "holds numbers"),
        (asked({"data": [*SIX[:5], True]}), "inputs.0.data", "holds numbers"),
        (asked({"data": [*SIX[:5], None]}), "inputs.0.data", "holds numbers"),
        (asked({"data": [*SIX[:5], 1e39]}), "inputs.0.data", "not finite as float32"),
        (asked({"data": [*SIX[:5], 10**400]}), "inputs.0.data", "outside of float32"),
        (asked(k={"data": [1, 2.0]}), "inputs.1.data", "whole numbers"),
        (asked(k={"data": [1, 128]}), "inputs.1.data", "within -128 and 127"),
        (asked({"parameters": 1}), "inputs.0.parameters", "dictionary"),
        (asked({"parameters": {"binary_data_size": 24}}), "inputs.0.data", "one of"),
        (asked(outputs=[{"name": "z"}]), "outputs.0.name", "there are output"),
        (asked(outputs=[{"name": "output"}] * 2), "outputs.1.name", "twice"),
        (asked(outputs=[{"name": "output", "parameters": {"binary_data": 1}}]),
         "outputs.0.parameters.binary_data", "true or false"),
        (asked(parameters={"binary_data_output": "yes"}),
         "parameters.binary_data_output", "true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(body, field, said):
    with pytest.raises(UsageError) as caught:
        parse(MODEL, as_bytes(body)[0])
    assert caught.value.where == field
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"inputs": [NaN]}', b'{"inputs": [Infinity]}', b"\xff", b"[" * 10**5,
     b'{"id": "\\ud800"}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(body):
    with pytest.raises(DataError, match="no JSON"):
        parse(MODEL, body)


def test_a_number_too_large_for_a_float_is_not_finite():
    body = json.dumps(asked()).replace("6.0", "1e999").encode()
    with pytest.raises(UsageError, match="not finite"):
        parse(MODEL, body)


@pytest.mark.parametrize("last", [3e38, -3e38, math.inf, -math.inf, math.nan])
def test_large_numbers_are_finite_though_their_sum_is_not(last):
    body, head = as_bytes(binary(), b"x")
    given = np.array([3e38] * 5 + [last], "<f4")
    content = body[:-1] + given.tobytes() + bytes(2)
    if math.isfinite(last):
        found = parse(MODEL, content, header_bytes=head).values["x"]
        np.testing.assert_array_equal(found.flatten(), given)
        return
    with pytest.raises(UsageError, match="not finite as float32"):
        parse(MODEL, content, header_bytes=head)


def binary(x_size=24, k_size=2):
    body = asked({"parameters": {"binary_data_size": x_size}},
                 {"parameters": {"binary_data_size": k_size}})  # fmt: skip
    for each in body["inputs"]:
        del each["data"]
    return body


def test_bytes_behind_the_json_are_tensors_in_order():
    values = torch.tensor(SIX)
    body, head = as_bytes(binary(), values.numpy().tobytes() + bytes([1, 255]))
    found = parse(MODEL, body, header_bytes=head).values
    assert torch.equal(found["x"], values.reshape(2, 3))
    assert found["k"].tolist() == [1, -1]


@pytest.mark.parametrize(
    ("body", "rest", "field"),
    [
        (binary(23), bytes(26), "inputs.0.parameters.binary_data_size"),
        (binary(24.0), bytes(26), "inputs.0.parameters.binary_data_size"),
        (binary(True), bytes(26), "inputs.0.parameters.binary_data_size"),
        (binary(), bytes(25), "inputs.1.parameters.binary_data_size"),
        (binary(), bytes(27), "body"),
        (binary(), b"\xff" * 26, "inputs.0.parameters.binary_data_size"),  # NaN
    ],
)
def test_bytes_that_are_not_the_tensors_are_refused(body, rest, field):
    content, head = as_bytes(body, rest)
    with pytest.raises(UsageError) as caught:
        parse(MODEL, content, header_bytes=head)
    assert caught.value.where == field


@pytest.mark.parametrize("head", [10**6, -1])
def test_a_header_that_is_longer_than_the_body_is_refused(head):
    with pytest.raises(DataError, match="bytes"):
        parse(MODEL, b"{}", header_bytes=head)


def test_a_byte_of_a_bool_is_0_or_1():
    kind = Port(name="b", type=TensorType((2,), "bool"))
    model = Model(name="n", inputs=(kind,), outputs=())
    body = {"inputs": [{"name": "b", "shape": [2], "datatype": "BOOL",
                        "parameters": {"binary_data_size": 2}}]}  # fmt: skip
    content, head = as_bytes(body, b"\x01\x00")
    assert parse(model, content, header_bytes=head).values["b"].tolist() == [
        True,
        False,
    ]
    content, head = as_bytes(body, b"\x01\x02")
    with pytest.raises(UsageError, match="0 or 1"):
        parse(model, content, header_bytes=head)


@given(
    st.sampled_from(sorted(DATATYPES)),
    st.lists(st.integers(0, 3), max_size=3),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=100, deadline=None)
def test_an_answer_asked_again_is_the_same_bits(dtype, shape, binary_data, seed):
    drawn = torch.Generator().manual_seed(seed)
    value = torch.randint(-100, 100, tuple(shape), generator=drawn) / 7
    value = value.abs() if dtype == "uint8" else value
    value = (value > 0) if dtype == "bool" else value.to(getattr(torch, dtype))
    port = Port(name="a", type=TensorType(tuple(shape), dtype))
    model = Model(name="n", inputs=(port,), outputs=(port,))
    wide = value.float() if "float" in dtype else value
    start = {
        "inputs": [{**port.record(), "data": wide.reshape(-1).tolist()}],
        "parameters": {"binary_data_output": binary_data},
    }
    first = parse(model, json.dumps(start).encode())
    assert torch.equal(first.values["a"], value.float().to(value.dtype))
    content, head = render(model, first, {"a": first.values["a"]})
    size = len(content) if head is None else head
    answer = json.loads(content[:size])
    again = json.dumps({"inputs": answer["outputs"]}).encode()
    found = parse(
        model, again + content[size:], header_bytes=len(again) if binary_data else None
    )
    assert torch.equal(found.values["a"], first.values["a"])


def test_what_an_output_is_asked_as_beats_the_default():
    body = asked(
        parameters={"binary_data_output": True},
        outputs=[{"name": "output", "parameters": {"binary_data": False}}],
    )
    assert parse(MODEL, as_bytes(body)[0]).outputs == {"output": False}


def test_an_output_that_is_not_finite_is_refused_as_json_and_given_as_bytes():
    outputs = {"output": torch.tensor([1.0, math.nan])}
    with pytest.raises(UsageError, match="not finite"):
        render(MODEL, parse(MODEL, as_bytes(asked())[0]), outputs)
    wanted = asked(parameters={"binary_data_output": True})
    content, head = render(MODEL, parse(MODEL, as_bytes(wanted)[0]), outputs)
    assert head is not None
    assert len(content) - head == 2 * 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "shape", "data", "id", "parameters"]),
            each,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    st.sampled_from(["name", "shape", "datatype", "data", "parameters", "odd"]),
    JSON,
    st.sampled_from(["id", "outputs", "parameters", "inputs"]),
    st.none() | JSON,
)
@settings(max_examples=300, deadline=None)
def test_any_json_is_taken_or_refused_in_words(field, value, top, other):
    body = asked({field: value})
    if other is not None:
        body[top] = other
    with contextlib.suppress(DataError, UsageError):
        assert set(parse(MODEL, as_bytes(body)[0]).values) == {"x", "k"}


@given(st.binary(max_size=60), st.none() | st.integers(-5, 80))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_in_words(body, head):
    with pytest.raises(TrimtabError):
        parse(MODEL, body, header_bytes=head)


def test_the_longest_right_body_is_within_the_limit():
    digits = [-1.2345678901234567e-300] * 6
    body = json.dumps(asked({"data": digits, "name": "x"}), indent=1)
    assert len(body) < MODEL.most_bytes < 2**17


# Any number of items

ROWS = Port(name="ids", type=TensorType((1, 2), "int64"), bounds=(5, 9))
DENSE = Port(name="x", type=TensorType((1, 1), "float32"))
SCORE = Port(name="score", type=TensorType((1,), "float32"))
FREE = Model(name="net", inputs=(ROWS, DENSE), outputs=(SCORE,), most_items=4)


def items(ids, x):
    count = len(ids) // 2
    return as_bytes({
        "inputs": [
            {"name": "ids", "shape": [count, 2], "datatype": "INT64", "data": ids},
            {"name": "x", "shape": [len(x), 1], "datatype": "FP32", "data": x},
        ]
    })[0]  # fmt: skip


def test_a_free_first_axis_takes_any_number_of_items():
    for count in (1, 4):
        found = parse(FREE, items([4, 8] * count, [0.5] * count))
        assert found.values["ids"].tolist() == [[4, 8]] * count
        body, _ = render(FREE, found, {"score": torch.zeros(count)})
        assert json.loads(body)["outputs"][0]["shape"] == [count]


@pytest.mark.parametrize(
    ("ids", "x", "field", "said"),
    [
        ([4, 8] * 5, [0.5] * 5, "inputs.0.shape", "1 to 4 items"),
        ([], [], "inputs.0.shape", "1 to 4 items"),
        ([4, 8] * 2, [0.5] * 3, "inputs.1.shape", "'ids' has 2"),
        ([4, 8, 5, 0], [0.5] * 2, "inputs.0.data", "from 0 to 4"),
        ([4, 9], [0.5], "inputs.0.data", "from 0 to 8"),
        ([4, -1], [0.5], "inputs.0.data", "-1 at [0, 1]"),
    ],
)
def test_wrong_items_and_ids_name_their_field(ids, x, field, said):
    with pytest.raises(UsageError) as error:
        parse(FREE, items(ids, x))
    assert error.value.where == field
    assert said in str(error.value)


def test_a_request_may_say_how_urgent_it_is():
    plain = parse(MODEL, as_bytes(asked())[0])
    assert (plain.priority, plain.timeout_s) == (0, None)
    said = asked(parameters={"priority": 3, "timeout": 2_500})
    found = parse(MODEL, as_bytes(said)[0])
    assert found.priority == 3
    assert found.timeout_s == pytest.approx(2_500e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("priority", 4), ("priority", -1), ("priority", True), ("timeout", 0.5),
     ("timeout", "1"), ("timeout", 10**10)],
)  # fmt: skip
def test_no_other_urgency_is_taken(name, value):
    body = as_bytes(asked(parameters={name: value}))[0]
    with pytest.raises(UsageError, match="whole number") as caught:
        parse(MODEL, body)
    assert caught.value.where == f"parameters.{name}"


@pytest.mark.parametrize(
    ("dtype", "given", "below"),
    [
        ("int8", -60, 127),  # 196 as unsigned, which is below the bound
        ("int8", -1, 127),
        ("uint8", 200, 199),
        ("int32", -(2**31), 199),
        ("int64", -(2**63), 199),
        ("int64", 2**63 - 1, 199),
    ],
)
def test_an_id_out_of_range_is_refused_in_every_type(dtype, given, below):
    port = Port(name="ids", type=TensorType((1,), dtype), bounds=(200,))
    model = Model(name="net", inputs=(port,), outputs=(Y,), most_items=8)
    data = [0, below, given]
    ids = {"name": "ids", "shape": [3], "datatype": DATATYPES[dtype], "data": data}
    body = {"inputs": [ids]}
    with pytest.raises(UsageError) as caught:
        parse(model, json.dumps(body).encode())
    assert f"{given} at [2]: ids there are from 0 to {below}" in str(caught.value)
    data[2] = 1
    found = parse(model, json.dumps(body).encode()).values["ids"]
    assert found.tolist() == [0, below, 1]
