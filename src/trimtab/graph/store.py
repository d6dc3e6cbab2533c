"""graph.json: a graph as JSON and back, exactly; what is read is checked.

A file is hostile until read: unknown keys, wrong types and broken references are
refused, sizes are limited, and nothing in it names code.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from trimtab.errors import GraphError, TrimtabError
from trimtab.frozen import FrozenDict
from trimtab.graph.tree import KINDS, Tree
from trimtab.graph.types import (
    Argument,
    Constant,
    ConstantKind,
    Graph,
    Input,
    Node,
    Ref,
    TensorType,
    Token,
)

__all__ = ["FORMAT", "digest", "dumps", "loads"]

FORMAT = "trimtab-graph-1"
"""Stands in every file; a reader refuses others."""

_MAX_CHARACTERS = 256 << 20
_MAX_DEPTH = 32
_TOKENS = ("dtype", "device", "layout", "memory_format")

T = TypeVar("T")


def dumps(graph: Graph) -> str:
    """Return the graph as JSON; the same text for graphs captured alike.

    Example:
        >>> from trimtab.graph.tree import LEAF
        >>> tree = Tree(kind="tuple")
        >>> empty = Graph(name="empty", inputs=(), constants=(), nodes=(), outputs=(1,),
        ...               input_tree=tree, output_tree=LEAF)
        >>> loads(dumps(empty)) == empty
        True
    """
    record = {
        "format": FORMAT,
        "name": graph.name,
        "inputs": [
            {
                "name": each.name,
                "type": _type(each.type),
                "value": _argument(each.value),
            }
            for each in graph.inputs
        ],
        "constants": [_constant(each) for each in graph.constants],
        "nodes": [_node(each) for each in graph.nodes],
        "outputs": [_argument(each) for each in graph.outputs],
        "input_tree": _tree(graph.input_tree),
        "output_tree": _tree(graph.output_tree),
    }
    return json.dumps(record, indent=None, separators=(",", ":"), allow_nan=False)


def digest(graph: Graph) -> str:
    """Return the SHA-256 of the graph's JSON, in hexadecimal."""
    return hashlib.sha256(dumps(graph).encode()).hexdigest()


def _type(kind: TensorType | None) -> list[object] | None:
    return None if kind is None else [kind.dtype, *kind.shape]


def _argument(argument: Argument) -> object:
    if isinstance(argument, Ref):
        return {"ref": [argument.name, argument.output]}
    if isinstance(argument, Token):
        return {argument.kind: argument.name}
    if isinstance(argument, tuple):
        return [_argument(each) for each in argument]
    if isinstance(argument, float) and not math.isfinite(argument):
        return {"float": str(argument)}
    return argument


def _constant(constant: Constant) -> dict[str, object]:
    data = constant.data
    return {
        "name": constant.name,
        "target": constant.target,
        "kind": str(constant.kind),
        "type": _type(constant.type),
        "shares": constant.shares,
        "frozen": constant.frozen,
        "data": None if data is None else base64.b64encode(data).decode(),
    }


def _node(node: Node) -> dict[str, object]:
    return {
        "name": node.name,
        "op": node.op,
        "arguments": {key: _argument(value) for key, value in node.arguments.items()},
        "outputs": [_type(each) for each in node.outputs],
        "module": node.module,
        "module_type": node.module_type,
        "view_of": None if node.view_of is None else _argument(node.view_of),
    }


def _tree(tree: Tree) -> dict[str, object]:
    return {
        "kind": tree.kind,
        "keys": list(tree.keys),
        "children": [_tree(child) for child in tree.children],
        "name": tree.name,
    }


# Reading


def loads(text: str, where: str = "graph.json") -> Graph:
    """Return the graph that `text` describes.

    Args:
        text: as `dumps` writes it.
        where: for messages.

    Raises:
        GraphError: it is no graph, or one of another format.
    """
    if len(text) > _MAX_CHARACTERS:
        raise _broken(
            f"it has {len(text)} characters, at most {_MAX_CHARACTERS}", where
        )
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is no JSON: {error}", where) from error
    try:
        return _read_graph(record)
    except TrimtabError as error:
        raise _broken(str(error), where) from error
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise _broken(f"{type(error).__name__}: {error}", where) from error


def _broken(rule: str, where: str) -> GraphError:
    return GraphError(
        "graph",
        rule=rule.rstrip("."),
        where=where,
        remedy="make the bundle again with this version of trimtab",
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


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


def _read_graph(record: object) -> Graph:
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, Mapping) else None
        raise ValueError(f"its format is {found!r}, this version reads {FORMAT!r}")
    _, name, inputs, constants, nodes, outputs, input_tree, output_tree = _fields(
        record,
        "format",
        "name",
        "inputs",
        "constants",
        "nodes",
        "outputs",
        "input_tree",
        "output_tree",
    )
    return Graph(
        name=_text(name),
        inputs=_list(inputs, _read_input),
        constants=_list(constants, _read_constant),
        nodes=_list(nodes, _read_node),
        outputs=_list(outputs, _read_argument),
        input_tree=_read_tree(input_tree),
        output_tree=_read_tree(output_tree),
    )


def _read_type(value: object) -> TensorType:
    if not isinstance(value, list) or not value:
        raise TypeError(f"expected a type, found {value!r}"[:200])
    return TensorType(tuple(map(_size, value[1:])), _text(value[0]))


def _read_optional_type(value: object) -> TensorType | None:
    return None if value is None else _read_type(value)


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise TypeError(f"expected a size, found {value!r}"[:200])
    return value


def _read_input(record: object) -> Input:
    name, kind, value = _fields(record, "name", "type", "value")
    found = _read_argument(value)
    if isinstance(found, Ref | Token | tuple):
        raise TypeError("the value of an input is a number, text or null")
    return Input(name=_text(name), type=_read_optional_type(kind), value=found)


def _read_constant(record: object) -> Constant:
    name, target, kind, type_, shares, frozen, data = _fields(
        record, "name", "target", "kind", "type", "shares", "frozen", "data"
    )
    if not isinstance(frozen, bool):
        raise TypeError(f"expected true or false, found {frozen!r}"[:200])
    found = _read_type(type_)
    raw = None
    if data is not None:
        try:
            raw = base64.b64decode(_text(data), validate=True)
        except binascii.Error as error:
            raise ValueError(f"data of {name!r}: {error}") from error
    constant = Constant(
        name=_text(name),
        target=_text(target),
        kind=ConstantKind(kind),
        type=found,
        shares=_text(shares),
        frozen=frozen,
        data=raw,
    )
    needed = found.size_bytes if constant.kind is ConstantKind.TENSOR else None
    if (None if raw is None else len(raw)) != needed:
        raise ValueError(f"constant {name!r} has data of the wrong size")
    return constant


def _read_node(record: object) -> Node:
    name, op, arguments, outputs, module, module_type, view_of = _fields(
        record, "name", "op", "arguments", "outputs", "module", "module_type", "view_of"
    )
    if not isinstance(arguments, dict):
        raise TypeError(f"arguments of node {name!r} are no object")
    shared = _read_argument(view_of)
    if not isinstance(shared, Ref | None):
        raise TypeError(f"view_of of node {name!r} is no value")
    return Node(
        name=_text(name),
        op=_text(op),
        arguments=FrozenDict(
            {key: _read_argument(value) for key, value in arguments.items()}
        ),
        outputs=_list(outputs, _read_optional_type),
        module=_text(module),
        module_type=_text(module_type),
        view_of=shared,
    )


def _read_argument(value: object, depth: int = 0) -> Argument:
    if depth > _MAX_DEPTH:
        raise ValueError(f"arguments nest deeper than {_MAX_DEPTH}")
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, list):
        return tuple(_read_argument(each, depth + 1) for each in value)
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        if key == "ref":
            if isinstance(inner, list) and len(inner) == 2:
                return Ref(_text(inner[0]), _size(inner[1]))
        elif key == "float":
            if inner in ("inf", "-inf", "nan"):
                return float(inner)
        elif key in _TOKENS:
            return Token(cast(Any, key), _text(inner))
    raise TypeError(f"expected an argument, found {value!r}"[:200])


def _read_tree(record: object, depth: int = 0) -> Tree:
    if depth > _MAX_DEPTH:
        raise ValueError(f"trees nest deeper than {_MAX_DEPTH}")
    kind, keys, children, name = _fields(record, "kind", "keys", "children", "name")
    if kind not in KINDS:
        raise ValueError(f"unknown kind of tree {kind!r}")
    return Tree(
        kind=kind,
        keys=_list(keys, _read_key),
        children=_list(children, lambda child: _read_tree(child, depth + 1)),
        name=_text(name),
    )


def _read_key(value: object) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"expected a key, found {value!r}"[:200])
    return value
