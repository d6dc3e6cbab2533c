"""program.json is exact in both directions, and hostile until read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import BundleError
from trimtab.graph.types import TensorType
from trimtab.runtime import record as records
from trimtab.runtime.program import Argument, Call, Fallback, Program, Target
from trimtab.runtime.record import Record, StoredBucket, dumps, loads

_names = st.text(max_size=20)
_numbers = st.integers(min_value=0, max_value=(1 << 48) - 1)
_arguments = st.builds(
    Argument,
    kind=st.sampled_from(["input", "output", "constant", "workspace"]),
    index=_numbers,
    name=_names,
    offset_bytes=_numbers,
)
_words = st.text(alphabet="abc_1.%", min_size=1, max_size=9)
_calls = st.builds(
    Call,
    function=_names,
    arguments=st.lists(_arguments, max_size=4).map(tuple),
    nodes=st.lists(_words, max_size=3).map(tuple),
)
_fallbacks = st.builds(
    Fallback,
    node=_names,
    reads=st.dictionaries(_names, _arguments, max_size=3).map(
        lambda each: tuple(each.items())
    ),
    writes=st.lists(_arguments, max_size=2).map(tuple),
)
_types = st.builds(
    TensorType,
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    dtype=st.sampled_from(["float32", "int64", "bool"]),
)
_programs = st.builds(
    Program,
    inputs=st.lists(_types, max_size=2).map(tuple),
    outputs=st.lists(_types, max_size=2).map(tuple),
    workspace_bytes=_numbers,
    zeroed=st.lists(st.tuples(_numbers, _numbers), max_size=2).map(tuple),
    steps=st.lists(_calls | _fallbacks, max_size=4).map(tuple),
)
_records = st.builds(
    Record,
    versions=st.dictionaries(_names, _names, max_size=2),
    code=st.sampled_from(["shared", "llvm"]),
    target=st.builds(
        Target,
        machine=_names,
        llvm_cpu=_names,
        triple=_names,
        features=st.lists(_names, max_size=3).map(tuple),
        threads=st.integers(1, 1024),
    ),
    any_batch=st.booleans(),
    seed=st.integers(min_value=0),
    parameters=st.lists(_names, max_size=2).map(tuple),
    buckets=st.lists(
        st.builds(
            StoredBucket,
            batch=st.integers(1, 1 << 20),
            graph=_names,
            program=_programs,
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    report=st.dictionaries(_names, st.integers() | st.lists(_names), max_size=2),
)


@given(_records)
def test_a_record_comes_back_exactly(record: Record) -> None:
    assert loads(dumps(record), "here") == record


EXAMPLE = Record(
    versions={"trimtab": "0.1.0"},
    code="shared",
    target=Target(
        machine="this", llvm_cpu="znver3", triple="x86_64", features=(), threads=2
    ),
    any_batch=False,
    seed=7,
    parameters=("x",),
    buckets=(
        StoredBucket(
            batch=1,
            graph="graph.json",
            program=Program(
                inputs=(TensorType((1, 3), "float32"),),
                outputs=(),
                workspace_bytes=64,
                zeroed=((0, 64),),
                steps=(
                    Call(
                        function="conv_0",
                        arguments=(
                            Argument(kind="constant", name="a b|c"),
                            Argument(kind="workspace", offset_bytes=64),
                        ),
                        nodes=("conv", "relu"),
                    ),
                    Fallback(node="sort", reads=(), writes=()),
                ),
            ),
        ),
    ),
    report={},
)


def test_a_step_is_short_to_read() -> None:
    text = dumps(EXAMPLE)
    assert '"c 0 0 a b|c"' in text
    assert '"w 64 0 "' in text
    assert '"nodes": "conv relu"' in text


def test_numbers_of_the_report_are_finite() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        dumps(
            Record(
                versions={},
                code="shared",
                target=EXAMPLE.target,
                any_batch=False,
                seed=0,
                parameters=(),
                buckets=EXAMPLE.buckets,
                report={"time": float("nan")},
            )
        )


def _program(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["buckets"][0]["program"]
    return found


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        place: Any = record
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


_PROGRAM = ("buckets", 0, "program")
_CALL = (*_PROGRAM, "steps", 0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_set("format", to="trimtab-program-0"), "its format is 'trimtab-program-0'"),
        (_set("more", to=1), "expected the keys format, versions"),
        (_set("versions", to=[]), "versions and report are objects"),
        (_set("versions", to={"a": 1}), "expected text, found 1"),
        (_set("code", to="python"), "unknown kind of code 'python'"),
        (_set("any_batch", to=1), "expected true or false, found 1"),
        (_set("seed", to=-1), "expected a seed, found -1"),
        (_set("seed", to=True), "expected a seed, found True"),
        (_set("parameters", to="x"), "expected a list, found 'x'"),
        (_set("parameters", to=[1]), "expected text, found 1"),
        (_set("buckets", to=[]), "it has no program"),
        (_set("buckets", to={}), "it has no program"),
        (_set("buckets", to={"a": 1}), "expected a list"),
        (_set("buckets", 0, "batch", to=0), "expected a number from 1 on, found 0"),
        (_set("target", "threads", to=0), "expected a number from 1 on"),
        (_set("target", "threads", to=True), "expected a number from 1 on"),
        (_set("target", "threads", to=1025), "1025 threads are more"),
        (_set("target", "features", to="avx"), "expected a list, found 'avx'"),
        (_set(*_PROGRAM, "workspace_bytes", to=-1), "from 0 on, found -1"),
        (_set(*_PROGRAM, "workspace_bytes", to=1 << 48), "expected a number"),
        (_set(*_PROGRAM, "workspace_bytes", to=1.5), "found 1.5"),
        (_set(*_PROGRAM, "zeroed", to=[[1]]), "not enough values"),
        (_set(*_PROGRAM, "zeroed", to=[[0, -4]]), "found -4"),
        (_set(*_PROGRAM, "inputs", to=["[]"]), "not enough values"),
        (_set(*_PROGRAM, "inputs", to=["{"]), "JSONDecodeError"),
        (_set(*_PROGRAM, "inputs", to=['["float33",1]']), "tensor type float33[1]"),
        (_set(*_PROGRAM, "inputs", to=['["int8",-1]']), "found -1"),
        (_set(*_PROGRAM, "inputs", to=['["int8",true]']), "found True"),
        (_set(*_CALL, "call", to=None), "expected text, found None"),
        (_set(*_CALL, "other", to=1), "expected the keys call, arguments, nodes"),
        (_set(*_CALL, "arguments", to=["x 0 0 "]), "expected an argument"),
        (_set(*_CALL, "arguments", to=["w -64 0 "]), "expected an argument"),
        (_set(*_CALL, "arguments", to=["w ² 0 "]), "expected an argument"),
        (_set(*_CALL, "arguments", to=["w 0 0"]), "not enough values"),
        (_set(*_CALL, "arguments", to=[f"w {10**15} 0 "]), "expected an argument"),
        (_set(*_CALL, "arguments", to=[f"w {(1 << 48)} 0 "]), "expected a number"),
        (_set(*_PROGRAM, "steps", 1, "reads", to=[]), "expected an object"),
        (_set(*_PROGRAM, "steps", 1, "writes", to=None), "expected a list"),
        (_set(*_PROGRAM, "steps", 1, to=3), "expected the keys node, reads, writes"),
    ],
)
def test_what_is_odd_is_refused(
    change: Callable[[dict[str, Any]], None], text: str
) -> None:
    record = json.loads(dumps(EXAMPLE))
    change(record)
    with pytest.raises(BundleError) as error:
        loads(json.dumps(record), "a/program.json")
    assert str(error.value).startswith("compiled program: ")
    assert text in str(error.value)
    assert error.value.where == "a/program.json"
    assert error.value.remedy == (
        "compile the network again with this version of trimtab"
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"format": NaN}', "[" * 9999]
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"compiled program: (it is no JSON|Value)"):
        loads(text, "here")


def test_a_file_beyond_all_reason_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BYTES", 10)
    with pytest.raises(BundleError, match="it has 11 characters, at most 10"):
        loads(" " * 11, "here")
