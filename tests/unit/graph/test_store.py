import contextlib
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import GraphError
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture
from trimtab.graph.store import FORMAT, digest, dumps, loads
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import (
    Constant,
    ConstantKind,
    Graph,
    Input,
    Node,
    Ref,
    TensorType,
    Token,
)

ARGUMENTS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.floats(allow_nan=False),
        st.text(max_size=5),
        st.just(Ref("x")),
        st.builds(
            Token,
            st.sampled_from(["dtype", "device", "layout", "memory_format"]),
            st.text(max_size=5),
        ),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def graph_of(arguments):
    kind = TensorType((2,), "float32")
    return Graph(
        name="g",
        inputs=(Input(name="x", type=kind), Input(name="n", type=None, value=2.5)),
        constants=(
            Constant(
                name="c",
                target="c",
                kind=ConstantKind.TENSOR,
                type=kind,
                shares="c",
                data=bytes(range(8)),
            ),
        ),
        nodes=(
            Node(
                name="y",
                op="aten.relu.default",
                arguments=FrozenDict(arguments),
                outputs=(kind, None),
                module="a.b",
                module_type="B",
                view_of=Ref("x"),
            ),
        ),
        outputs=(Ref("y"), None, 3),
        input_tree=Tree(kind="tuple", children=(LEAF, LEAF)),
        output_tree=Tree(kind="list", children=(LEAF, LEAF, LEAF)),
    )


@given(st.dictionaries(st.text(max_size=4), ARGUMENTS, max_size=4))
def test_exact_round_trip(arguments):
    graph = graph_of(arguments)
    text = dumps(graph)
    again = loads(text)
    assert again == graph
    assert dumps(again) == text
    assert digest(again) == digest(graph)


def test_numbers_that_json_has_not():
    again = loads(dumps(graph_of({"a": (math.inf, -math.inf), "b": math.nan})))
    assert again.nodes[0].arguments["a"] == (math.inf, -math.inf)
    assert str(again.nodes[0].arguments["b"]) == "nan"


def test_networks_come_back_equal(case):
    module, args, kwargs = case
    graph = capture(module, args, kwargs)
    assert loads(dumps(graph)) == graph


def test_equal_networks_have_equal_digests():
    def make():
        return capture(torch.nn.Linear(2, 3).eval(), (torch.zeros(1, 2),))

    assert digest(make()) == digest(make())
    assert digest(make()) != digest(
        capture(torch.nn.Linear(2, 4).eval(), (torch.zeros(1, 2),))
    )


def test_another_format_is_refused():
    text = dumps(graph_of({})).replace(FORMAT, "trimtab-graph-0")
    with pytest.raises(GraphError, match="'trimtab-graph-0', this version reads"):
        loads(text, "here.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "NaN", '"x"', "[" * 100_000, "{}"]
)
def test_what_is_no_graph(text):
    with pytest.raises(GraphError, match=r"here\.json"):
        loads(text, "here.json")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.just({"ref": ["y", 5]}),
    st.just({"float": "infinity"}),
    st.just(["float32", -1]),
    st.just(["float32", 10**30]),
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))


RECORD = json.loads(dumps(graph_of({"self": Ref("x"), "list": (1, 2)})))
PLACES = list(places(RECORD))[1:]


@given(st.sampled_from(PLACES), SCALARS, st.booleans())
def test_a_file_that_was_tampered_with_gives_a_graph_or_one_error(place, value, drop):
    record = json.loads(json.dumps(RECORD))
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    if drop:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    with contextlib.suppress(GraphError):
        assert isinstance(loads(json.dumps(record)), Graph)


TEXT = json.dumps(RECORD)


@settings(max_examples=300)
@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 20),
    st.one_of(
        st.text(alphabet='[]{}",:0123456789.eE-+ntf\\ud', max_size=4),
        st.text(max_size=3),
    ),
)
def test_a_file_that_was_damaged_gives_a_graph_or_one_error(start, length, other):
    damaged = TEXT[:start] + other + TEXT[start + length :]
    with contextlib.suppress(GraphError):
        assert isinstance(loads(damaged), Graph)


def test_frozen_is_true_or_false():
    record = json.loads(TEXT)
    record["constants"][0]["frozen"] = 1
    with pytest.raises(GraphError, match="expected true or false, found 1"):
        loads(json.dumps(record))


def test_a_name_that_occurs_twice_is_refused():
    record = json.loads(TEXT)
    record["nodes"][0]["name"] = record["inputs"][0]["name"]
    with pytest.raises(GraphError, match="a name stands for one value only"):
        loads(json.dumps(record))


def test_deep_nesting_is_refused():
    record = json.loads(json.dumps(RECORD))
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    record["nodes"][0]["arguments"]["list"] = deep
    with pytest.raises(GraphError, match="nest deeper"):
        loads(json.dumps(record))


def test_data_of_the_wrong_size_is_refused():
    record = json.loads(json.dumps(RECORD))
    record["constants"][0]["type"] = ["float32", 3]
    with pytest.raises(GraphError, match="data of the wrong size"):
        loads(json.dumps(record))


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["nodes"][0].update(outputs=[["float32", *[2] * 200]]),
        lambda record: record["nodes"][0].update(outputs=[["float32", 2**40, 2**40]]),
        lambda record: record.update(outputs=[[1, 2], None, 3]),
        lambda record: record.update(
            output_tree={
                "kind": "namedtuple",
                "keys": ["a", "b", "c"],
                "children": [record["input_tree"]["children"][0]] * 3,
                "name": "a b;import os",
            }
        ),
    ],
    ids=["rank", "elements", "nested output", "name of a tuple"],
)
def test_hostile_files_are_refused_when_read(change):
    record = json.loads(json.dumps(RECORD))
    change(record)
    with pytest.raises(GraphError, match=r"graph\.json"):
        loads(json.dumps(record))
