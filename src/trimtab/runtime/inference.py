"""The Open Inference Protocol 2, read and written: over 400 lines, one format.

Knows no server. What is asked is checked against the types that a network takes before
memory is taken for it; whatever is wrong is one error that names the field. Tensors
come as JSON or, with the binary extension, as bytes behind it: ``binary_data_size`` of
an input, ``binary_data`` of an output, ``binary_data_output`` for all of them. By the
extension of schedule policies a request has a ``priority``, of which 1 is the most
urgent and 0 the default, and a ``timeout`` in microseconds, of which 0 is none.

Protocol: github.com/kserve/open-inference-protocol, specification/protocol
/inference_rest.md; extension: github.com/triton-inference-server/server,
docs/protocol/extension_binary_data.md, extension_schedule_policy.md. Of it are not
taken: strings, classification, shared memory, and shapes other than those of the
network; where it takes any number of items, that is the first axis of every tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, final

import numpy as np
import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from torch import Tensor

from trimtab.errors import DataError, UsageError
from trimtab.graph.types import TensorType
from trimtab.runtime.signature import DATATYPES, Model, Port

__all__ = ["Asked", "parse", "render"]

_CLOSED = ConfigDict(extra="forbid")
_PRIORITIES = 3
_MOST_US = 3_600_000_000  # an hour
_SHOWN = 80  # characters of what was sent that an error repeats
_Text = Annotated[str, Field(max_length=1024)]
_Size = Annotated[int, Field(ge=0, lt=2**48, strict=True)]
_Shape = Annotated[list[_Size], Field(max_length=64)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, checked.

    Attributes:
        id: that the answer repeats, or None.
        values: a tensor for each input.
        outputs: names that are wanted, in order, and whether as bytes.
        priority: 1 is the most urgent; 0 leaves it to the server.
        timeout_s: after which nobody wants the answer, or None.
    """

    id: str | None
    values: Mapping[str, Tensor]
    outputs: Mapping[str, bool]
    priority: int = 0
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: _Text
    shape: _Shape
    datatype: _Text
    parameters: dict[str, Any] | None = None
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: _Text
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    inputs: Annotated[list[_Input], Field(max_length=1024)]
    id: _Text | None = None
    parameters: dict[str, Any] | None = None
    outputs: Annotated[list[_Output], Field(max_length=1024)] | None = None


_BODY = TypeAdapter(_Body)


# From bytes


def parse(
    model: Model, body: bytes | bytearray, *, header_bytes: int | None = None
) -> Asked:
    """Return what a body asks for.

    Args:
        model: what is asked.
        body: JSON, and what follows it.
        header_bytes: of the JSON, where bytes of tensors follow.

    Raises:
        DataError: it is no JSON, or is shorter than its header says.
        UsageError: a field is not what the model takes.
    """
    size = len(body) if header_bytes is None else header_bytes
    if not 0 <= size <= len(body):
        raise DataError(
            f"a header of {size} bytes",
            rule=f"the body has {len(body)}",
            where="Inference-Header-Content-Length",
            remedy="give the bytes of the JSON that the body begins with",
        )
    try:
        said = from_json(body[:size], allow_inf_nan=False)
    except ValueError as error:
        raise DataError(
            "a body that is no JSON", rule=str(error)[:_SHOWN], where="body",
            remedy="send a JSON object with inputs; NaN and infinity are no JSON",
        ) from None  # fmt: skip
    try:
        found = _BODY.validate_python(said)
    except ValidationError as error:
        raise _invalid(error) from None
    rest = memoryview(body)[size:]
    values: dict[str, Tensor] = {}
    ports = {port.name: port for port in model.inputs}
    for index, each in enumerate(found.inputs):
        where = f"inputs.{index}"
        port = ports.get(each.name)
        if port is None or each.name in values:
            said_twice = "it is given twice" if port else _one_of(ports)
            raise _wrong(f"input {each.name!r}", said_twice, f"{where}.name")
        kind = _kind(each, port, model.most_items, f"{where}.shape")
        values[each.name], rest = _value(each, kind, rest, where)
        if port.bounds is not None:
            _check_ids(values[each.name], port.bounds, f"{where}.data")
    absent = [name for name in ports if name not in values]
    if absent:
        raise _wrong(f"no input {absent[0]!r}", "the network takes it", "inputs")
    if model.most_items is not None:
        _check_items(found.inputs)
    if rest:
        raise _wrong(f"{len(rest)} bytes", "they belong to no input", "body")
    priority = _number(found.parameters, "priority", _PRIORITIES)
    timeout_us = _number(found.parameters, "timeout", _MOST_US)
    return Asked(
        id=found.id, values=values, outputs=_wanted(model, found), priority=priority,
        timeout_s=1e-6 * timeout_us if timeout_us else None,
    )  # fmt: skip


def _wanted(model: Model, found: _Body) -> dict[str, bool]:
    as_bytes = _flag(found.parameters, "binary_data_output", "parameters")
    names = [port.name for port in model.outputs]
    if found.outputs is None:
        return dict.fromkeys(names, as_bytes)
    wanted: dict[str, bool] = {}
    for index, each in enumerate(found.outputs):
        where = f"outputs.{index}"
        if each.name not in names or each.name in wanted:
            twice = each.name in wanted
            raise _wrong(
                f"output {each.name!r}",
                "it is asked for twice" if twice else _one_of(names),
                f"{where}.name",
            )
        own = "binary_data" in (each.parameters or {})
        wanted[each.name] = (
            _flag(each.parameters, "binary_data", f"{where}.parameters")
            if own
            else as_bytes
        )
    return wanted


def _flag(parameters: Mapping[str, Any] | None, name: str, where: str) -> bool:
    value = (parameters or {}).get(name, False)
    if not isinstance(value, bool):
        raise _wrong(_short(value), "it is true or false", f"{where}.{name}")
    return value


def _number(parameters: Mapping[str, Any] | None, name: str, most: int) -> int:
    value = (parameters or {}).get(name, 0)
    if type(value) is not int or not 0 <= value <= most:
        raise _wrong(
            _short(value), f"it is a whole number from 0 to {most}",
            f"parameters.{name}",
        )  # fmt: skip
    return value


def _kind(each: _Input, port: Port, most_items: int | None, where: str) -> TensorType:
    """Return the type of what was sent: that of the port, with the items it has."""
    shape = port.type.shape
    if most_items is not None:
        items = each.shape[0] if each.shape else 0
        if not 1 <= items <= most_items:
            raise _wrong(
                f"shape {_short(each.shape)}",
                f"the first axis is of 1 to {most_items} items",
                where,
            )
        shape = (items, *shape[1:])
    if tuple(each.shape) != shape:
        raise _wrong(
            f"shape {_short(each.shape)}", f"the network takes {list(shape)}", where
        )
    return TensorType(shape, port.type.dtype)


def _check_items(inputs: Sequence[_Input]) -> None:
    first = inputs[0]
    for index, each in enumerate(inputs):
        if each.shape[0] != first.shape[0]:
            raise _wrong(
                f"{each.shape[0]} items",
                f"{first.name!r} has {first.shape[0]}, all inputs have as many",
                f"inputs.{index}.shape",
            )


def _check_ids(values: Tensor, bounds: tuple[int, ...], where: str) -> None:
    signed = values.numpy()
    # Read as unsigned, numbers below 0 are beyond the type's: one comparison is enough.
    ids = signed.view(f"u{signed.itemsize}")
    top = int(np.iinfo(signed.dtype).max) + 1
    most = np.array([min(each, top) for each in bounds], dtype=np.uint64)
    if int(ids.max(initial=0)) < most.min():
        return
    if len(bounds) > 1:
        most = most.reshape(-1, *[1] * (ids.ndim - 2))
    wrong = ids >= most
    if wrong.any():
        at = np.argwhere(wrong)[0].tolist()
        below = int(np.broadcast_to(most, ids.shape)[tuple(at)])
        raise _wrong(
            f"{int(signed[tuple(at)])} at {at}", f"ids there are from 0 to {below - 1}",
            where,
        )  # fmt: skip


def _value(
    each: _Input, kind: TensorType, rest: memoryview, where: str
) -> tuple[Tensor, memoryview]:
    """Return a tensor, and the bytes behind it."""
    if each.datatype != DATATYPES[kind.dtype]:
        raise _wrong(
            f"datatype {each.datatype!r}",
            f"the network takes {DATATYPES[kind.dtype]}",
            f"{where}.datatype",
        )
    size = (each.parameters or {}).get("binary_data_size")
    if size is None:
        return _from_json(each.data, kind, f"{where}.data"), rest
    field = f"{where}.parameters.binary_data_size"
    if each.data is not None:
        raise _wrong("data, and bytes as well", "it is one of both", f"{where}.data")
    if type(size) is not int or size != kind.size_bytes:
        raise _wrong(_short(size), f"a {kind} has {kind.size_bytes} bytes", field)
    if len(rest) < size:
        raise _wrong(f"{size} bytes", f"{len(rest)} are left of the body", field)
    return _from_bytes(rest[:size], kind, field), rest[size:]


def _from_bytes(data: memoryview, kind: TensorType, where: str) -> Tensor:
    if kind.dtype == "bool" and data and max(data) > 1:
        raise _wrong("a byte of a BOOL above 1", "it is 0 or 1", where)
    dtype = getattr(torch, kind.dtype)
    if not data:
        return torch.empty(kind.shape, dtype=dtype)
    return _finite(torch.frombuffer(bytearray(data), dtype=dtype), kind, where)


def _from_json(data: Any, kind: TensorType, where: str) -> Tensor:
    numbers = _flat(data, kind, where)
    floating = "float" in kind.dtype
    types = {bool} if kind.dtype == "bool" else {int, float} if floating else {int}
    found = set(map(type, numbers))
    if found - types:
        odd = next(each for each in numbers if type(each) not in types)
        asked = "true or false" if bool in types else "numbers"
        whole = "" if floating or bool in types else "whole "
        raise _wrong(_short(odd), f"a {kind} holds {whole}{asked}", where)
    if int in types and not floating and numbers:
        limits = torch.iinfo(getattr(torch, kind.dtype))
        for odd in (min(numbers), max(numbers)):
            if not limits.min <= odd <= limits.max:
                rule = f"a {kind.dtype} is within {limits.min} and {limits.max}"
                raise _wrong(_short(odd), rule, where)
    try:
        wide = np.array(numbers, dtype="float64" if floating else kind.dtype)
    except OverflowError:
        raise _wrong("a number", f"it is outside of {kind.dtype}", where) from None
    made = torch.from_numpy(wide).to(getattr(torch, kind.dtype))
    return _finite(made, kind, where)


def _flat(data: Any, kind: TensorType, where: str) -> list[Any]:
    """Return the elements of lists in lists, or of one list of them all."""
    if not isinstance(data, list):
        given = "no data" if data is None else _short(data)
        raise _wrong(given, "an input has a list of them", where)
    if len(data) == kind.elements and list not in set(map(type, data)):
        return data
    level: list[Any] = [data]
    for size in kind.shape:
        for each in level:
            if type(each) is not list or len(each) != size:
                count = len(each) if type(each) is list else "no"
                raise _wrong(
                    f"{count} elements where there are {size}",
                    f"data are nested as {list(kind.shape)}, or one list of "
                    f"{kind.elements}",
                    where,
                )
        level = list(chain.from_iterable(level))
    return level


def _finite(made: Tensor, kind: TensorType, where: str) -> Tensor:
    # A sum is finite only where all numbers are; a large one says nothing.
    if (
        made.is_floating_point()
        and not math.isfinite(made.sum())
        and not bool(torch.isfinite(made).all())
    ):
        raise _wrong("a number", f"it is not finite as {kind.dtype}", where)
    return made.reshape(kind.shape)


# To bytes


def render(
    model: Model, asked: Asked, outputs: Mapping[str, Tensor]
) -> tuple[bytes, int | None]:
    """Return an answer, and the bytes of its JSON where others follow it.

    Args:
        model: what was asked.
        asked: what for.
        outputs: of the network, by name.

    Raises:
        UsageError: a number of an output is not finite, and is wanted as JSON.
    """
    described, payloads = [], []
    kinds = {port.name: port for port in model.outputs}
    for name, as_bytes in asked.outputs.items():
        value = outputs[name].detach().cpu().contiguous()
        record = kinds[name].record()
        record["shape"] = list(value.shape)
        if as_bytes:
            flat = value.reshape(-1)
            payloads.append(
                flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
            )
            record["parameters"] = {"binary_data_size": len(payloads[-1])}
        else:
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise UsageError(
                    f"output {name!r} as JSON",
                    rule="it has numbers that are not finite, and JSON has none",
                    where="outputs",
                    remedy="give other inputs, or ask for binary_data",
                )
            wide = value.float() if value.dtype == torch.bfloat16 else value
            record["data"] = wide.reshape(-1).tolist()
        described.append(record)
    said: dict[str, Any] = {"model_name": model.name, "outputs": described}
    if asked.id is not None:
        said["id"] = asked.id
    head = json.dumps(said, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([head, *payloads]), len(head) if payloads else None


# Errors


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _one_of(names: Sequence[str] | Mapping[str, Any]) -> str:
    return f"there are {', '.join(names)}"


def _wrong(asked: str, rule: str, where: str) -> UsageError:
    return UsageError(
        asked[: 3 * _SHOWN], rule=rule, where=where,
        remedy="see the metadata of the model",
    )  # fmt: skip


def _invalid(error: ValidationError) -> UsageError:
    problems = error.errors(include_url=False)
    first = problems[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return _wrong(
        f"{_short(first['input'])}{more}",
        first["msg"],
        ".".join(str(part)[:_SHOWN] for part in first["loc"]) or "body",
    )
