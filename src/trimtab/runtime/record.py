"""program.json: a compiled network as JSON and back, exactly; what is read is checked.

A file is hostile until read: unknown keys, wrong types and sizes beyond all reason are
refused here, pointers beyond their memory in `trimtab.runtime.check`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, final

from trimtab.errors import BundleError, TrimtabError
from trimtab.graph.types import TensorType
from trimtab.runtime.program import Argument, Call, Fallback, Program, Target

__all__ = ["FORMAT", "MAX_BYTES", "Record", "StoredBucket", "dumps", "loads"]

FORMAT = "trimtab-program-2"
"""Stands in every file; a reader refuses others."""

MAX_BYTES = 64 << 20
"""A longer file is not read."""

_KINDS: dict[str, Literal["input", "output", "constant", "workspace"]] = {
    "i": "input",
    "o": "output",
    "c": "constant",
    "w": "workspace",
}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_MAX_INDEX = 1 << 48

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBucket:
    """The network compiled for one batch size.

    Attributes:
        batch: rows of a batch.
        graph: the file with its graph.
        program: what to run.
    """

    batch: int
    graph: str
    program: Program


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What stands in program.json.

    Attributes:
        versions: of trimtab and TVM that made the code.
        code: the kind of library.
        target: what it was made for.
        any_batch: whether batches of other sizes are padded.
        seed: of the search that chose the kernels.
        parameters: of the module's ``forward`` that go by place and by name, in order.
        buckets: by batch size.
        report: what the compiler had to tell.
    """

    versions: Mapping[str, str]
    code: Literal["shared", "llvm"]
    target: Target
    any_batch: bool
    seed: int
    parameters: tuple[str, ...]
    buckets: tuple[StoredBucket, ...]
    report: Mapping[str, Any]


def dumps(record: Record) -> str:
    """Return the record as JSON, one step a line.

    Raises:
        ValueError: a number of the report is not finite.
    """
    target = record.target
    whole = {
        "format": FORMAT,
        "versions": dict(sorted(record.versions.items())),
        "code": record.code,
        "target": {
            "machine": target.machine,
            "llvm_cpu": target.llvm_cpu,
            "triple": target.triple,
            "features": list(target.features),
            "threads": target.threads,
        },
        "any_batch": record.any_batch,
        "seed": record.seed,
        "parameters": list(record.parameters),
        "buckets": [
            {
                "batch": each.batch,
                "graph": each.graph,
                "program": _program(each.program),
            }
            for each in record.buckets
        ],
        "report": record.report,
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _program(program: Program) -> dict[str, object]:
    return {
        "inputs": [_type(each) for each in program.inputs],
        "outputs": [_type(each) for each in program.outputs],
        "workspace_bytes": program.workspace_bytes,
        "zeroed": [list(each) for each in program.zeroed],
        "steps": [_step(each) for each in program.steps],
    }


def _type(kind: TensorType) -> str:
    return json.dumps([kind.dtype, *kind.shape])


def _step(step: Call | Fallback) -> dict[str, object]:
    if isinstance(step, Call):
        return {
            "call": step.function,
            "arguments": [_argument(each) for each in step.arguments],
            "nodes": " ".join(step.nodes),
        }
    return {
        "node": step.node,
        "reads": {name: _argument(each) for name, each in step.reads},
        "writes": [_argument(each) for each in step.writes],
    }


def _argument(argument: Argument) -> str:
    """Return ``kind offset index name`` in one word each, so that a line is one."""
    return (
        f"{_LETTERS[argument.kind]} {argument.offset_bytes} {argument.index} "
        f"{argument.name}"
    )


# Reading


def loads(text: str | bytes, where: str) -> Record:
    """Return the record that `text` describes.

    Args:
        text: as `dumps` writes it.
        where: for messages.

    Raises:
        BundleError: it is none, or one of another format.
    """
    if len(text) > MAX_BYTES:
        raise _broken(f"it has {len(text)} characters, at most {MAX_BYTES}", where)
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is no JSON: {error}", where) from error
    try:
        return _read(record)
    except TrimtabError as error:
        raise _broken(str(error), where) from error
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise _broken(f"{type(error).__name__}: {error}"[:500], where) from error


def _broken(rule: str, where: str) -> BundleError:
    return BundleError(
        "compiled program",
        rule=rule.rstrip("."),
        where=where,
        remedy="compile the network again with this version of trimtab",
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _read(record: object) -> Record:
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise ValueError(f"its format is {found!r}, this version reads {FORMAT!r}")
    _, versions, code, target, any_batch, seed, parameters, buckets, report = _fields(
        record,
        "format",
        "versions",
        "code",
        "target",
        "any_batch",
        "seed",
        "parameters",
        "buckets",
        "report",
    )
    if code not in ("shared", "llvm"):
        raise ValueError(f"unknown kind of code {code!r}"[:200])
    if not isinstance(any_batch, bool):
        raise TypeError(f"expected true or false, found {any_batch!r}"[:200])
    if type(seed) is not int or seed < 0:
        raise TypeError(f"expected a seed, found {seed!r}"[:200])
    if not isinstance(versions, dict) or not isinstance(report, dict):
        raise TypeError("versions and report are objects")
    if not buckets:
        raise ValueError("it has no program")
    return Record(
        versions={name: _text(each) for name, each in versions.items()},
        code=cast(Literal["shared", "llvm"], code),
        target=_read_target(target),
        any_batch=any_batch,
        seed=seed,
        parameters=_list(parameters, _text),
        buckets=_list(buckets, _read_bucket),
        report=report,
    )


def _fields(record: object, *names: str) -> list[Any]:
    if not isinstance(record, dict) or set(record) != set(names):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"expected the keys {', '.join(names)}, found {found}")
    return [record[name] for name in names]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}"[:200])
    return value


def _list(value: object, read: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {value!r}"[:200])
    return tuple(read(each) for each in value)


def _number(value: object, *, least: int = 0) -> int:
    if type(value) is not int or not least <= value < _MAX_INDEX:
        raise TypeError(f"expected a number from {least} on, found {value!r}"[:200])
    return value


def _read_target(record: object) -> Target:
    machine, llvm_cpu, triple, features, threads = _fields(
        record, "machine", "llvm_cpu", "triple", "features", "threads"
    )
    if _number(threads, least=1) > 1024:
        raise ValueError(f"{threads} threads are more than any machine here has")
    return Target(
        machine=_text(machine),
        llvm_cpu=_text(llvm_cpu),
        triple=_text(triple),
        features=_list(features, _text),
        threads=threads,
    )


def _read_bucket(record: object) -> StoredBucket:
    batch, graph, program = _fields(record, "batch", "graph", "program")
    return StoredBucket(
        batch=_number(batch, least=1),
        graph=_text(graph),
        program=_read_program(program),
    )


def _read_program(record: object) -> Program:
    inputs, outputs, workspace_bytes, zeroed, steps = _fields(
        record, "inputs", "outputs", "workspace_bytes", "zeroed", "steps"
    )
    return Program(
        inputs=_list(inputs, _read_type),
        outputs=_list(outputs, _read_type),
        workspace_bytes=_number(workspace_bytes),
        zeroed=_list(zeroed, _read_part),
        steps=_list(steps, _read_step),
    )


def _read_type(text: object) -> TensorType:
    dtype, *shape = _list(json.loads(_text(text)), lambda each: each)
    return TensorType(tuple(map(_number, shape)), _text(dtype))


def _read_part(value: object) -> tuple[int, int]:
    offset, size = _list(value, _number)
    return offset, size


def _read_step(record: object) -> Call | Fallback:
    if isinstance(record, dict) and "call" in record:
        function, arguments, nodes = _fields(record, "call", "arguments", "nodes")
        return Call(
            function=_text(function),
            arguments=_list(arguments, _read_argument),
            nodes=tuple(_text(nodes).split()),
        )
    node, reads, writes = _fields(record, "node", "reads", "writes")
    if not isinstance(reads, dict):
        raise TypeError(f"expected an object, found {reads!r}"[:200])
    return Fallback(
        node=_text(node),
        reads=tuple((name, _read_argument(each)) for name, each in reads.items()),
        writes=_list(writes, _read_argument),
    )


def _read_argument(value: object) -> Argument:
    letter, offset, index, name = _text(value).split(" ", 3)
    if letter not in _KINDS or not (_digits(offset) and _digits(index)):
        raise ValueError(f"expected an argument, found {value!r}"[:200])
    return Argument(
        kind=_KINDS[letter],
        offset_bytes=_number(int(offset)),
        index=_number(int(index)),
        name=name,
    )


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 15
