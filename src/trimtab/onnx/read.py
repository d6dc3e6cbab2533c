"""An ONNX file, hostile until it is read: bounded, complete, nothing from elsewhere."""

from __future__ import annotations

import collections
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.errors import MissingExtraError, NetworkNotFoundError, OnnxError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["is_onnx", "opset_of", "read", "require_package"]

_MAX_FILE_BYTES: Final = (1 << 31) - 1  # what protobuf itself can read
_MAX_DATA_BYTES: Final = 1 << 35  # of external data, as large as a machine's memory
_MAX_NODES: Final = 100_000
_OPSETS: Final = range(7, 29)
_OWN_DOMAINS: Final = ("", "ai.onnx")
_CONTROL: Final = frozenset(("If", "Loop", "Scan", "SequenceMap"))


def is_onnx(spec: str) -> bool:
    """Whether a specification of a network names an ONNX file.

    Example:
        >>> is_onnx("nets/unet.onnx"), is_onnx("zoo:resnet50")
        (True, False)
    """
    return spec.endswith(".onnx")


def read(path: Path, known: Mapping[str, object]) -> ModelProto:
    """Return the model of a file with all its data, and without functions.

    Args:
        path: of the file; external data lie in its folder.
        known: operators that are read, by name.

    Raises:
        NetworkNotFoundError: there is no such file.
        OnnxError: it is too large, damaged, takes data from outside its folder, has
            operators that are not read (all are named), or its flow depends on data.
    """
    if not path.is_file():
        raise NetworkNotFoundError(
            f"network {str(path)!r}",
            rule="there is no such file",
            where=str(path),
            remedy="check the path",
        )
    import onnx
    from onnx import checker, external_data_helper

    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise _wrong(path, f"it has {size} bytes, at most {_MAX_FILE_BYTES} are read")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own classes, and what it wraps
        raise _wrong(path, f"it is damaged, or no ONNX file: {_line(error)}") from error
    if not model.HasField("graph") or not model.graph.node:
        raise _wrong(path, "it holds no network")
    opset = opset_of(model)
    if opset not in _OPSETS:
        raise _wrong(
            path,
            f"its operators are of version {opset}, {_OPSETS.start} to "
            f"{_OPSETS.stop - 1} are read",
        )
    _require_own_data(model, path)
    model = _inlined(model, path)
    _require_known(model, path, known)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        if model.ByteSize() <= _MAX_FILE_BYTES:
            checker.check_model(model)
    except Exception as error:
        raise _wrong(path, _line(error)) from error
    return model


def require_package(asked: str, name: str = "onnx") -> None:
    """Refuse what takes a package that is not here.

    Args:
        asked: for the message.
        name: of the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise MissingExtraError(
            asked,
            rule=f"it takes the package {name}",
            remedy="install trimtab[onnx]",
        )


def opset_of(model: ModelProto) -> int:
    """Return the version of the operators of a model; 0 if it names none."""
    versions = [
        each.version for each in model.opset_import if each.domain in _OWN_DOMAINS
    ]
    return max(versions, default=0)


def _wrong(path: Path, rule: str) -> OnnxError:
    return OnnxError(
        f"network {str(path)!r}",
        rule=rule,
        where=str(path),
        remedy="export the network again",
    )


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")


def _require_own_data(model: ModelProto, path: Path) -> None:
    """Refuse data that lie outside the folder of the file, or are too many."""
    from onnx import external_data_helper as helper

    folder = path.parent.resolve()
    total = 0
    for tensor in helper._get_all_tensors(model):
        if not helper.uses_external_data(tensor):
            continue
        entries = {each.key: each.value for each in tensor.external_data}
        location = entries.get("location", "")
        place = _resolved(folder, location)
        if place is None:
            raise _wrong(
                path, f"data of {tensor.name!r} lie outside its folder: {location!r}"
            )
        if not place.is_file():
            raise _wrong(path, f"its data {location!r} are not there")
        length = entries.get("length", str(place.stat().st_size))
        total += int(length) if length.isdigit() else _MAX_DATA_BYTES + 1
        if total > _MAX_DATA_BYTES:
            raise _wrong(path, f"its data have over {_MAX_DATA_BYTES} bytes")


def _resolved(folder: Path, location: str) -> Path | None:
    """Return where data lie, links followed; None where that is not in the folder."""
    try:
        place = (folder / location).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in it, links in a circle
        return None
    inside = place != folder and place.is_relative_to(folder)
    return None if Path(location).is_absolute() or not inside else place


def _inlined(model: ModelProto, path: Path) -> ModelProto:
    """Return the model with the bodies of its functions where they are called."""
    if not model.functions:
        _require_few(len(model.graph.node), path)
        return model
    from onnx import inliner

    _require_few(_nodes_inlined(model, path), path)
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise _wrong(path, f"its functions: {_line(error)}") from error


def _require_few(nodes: int, path: Path) -> None:
    if nodes > _MAX_NODES:
        raise _wrong(path, f"it has {nodes} operators, at most {_MAX_NODES} are read")


def _nodes_inlined(model: ModelProto, path: Path) -> int:
    """Return how many nodes there are once functions stand where they are called."""
    bodies = {(each.domain, each.name): each.node for each in model.functions}
    counts: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def nodes_of(called: tuple[str, str]) -> int:
        if called in open_calls or len(open_calls) > 100:
            raise _wrong(path, f"function {called[1]!r} calls itself, or is deep")
        if called not in counts:
            open_calls.add(called)
            counts[called] = total(bodies[called])
            open_calls.discard(called)
        return counts[called]

    def total(nodes: Iterator[NodeProto]) -> int:
        found = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            found += nodes_of(called) if called in bodies else 1
        return found

    return total(model.graph.node)


def _require_known(model: ModelProto, path: Path, known: Mapping[str, object]) -> None:
    """Name all operators that are not read, with how often each stands there."""
    graph: GraphProto = model.graph
    control = [node for node in graph.node if node.op_type in _CONTROL]
    if control:
        raise OnnxError(
            f"network {str(path)!r}",
            rule="its flow depends on data, so no fixed graph exists: "
            + _counted(node.op_type for node in control),
            where=f"node {control[0].name!r}",
            remedy="export the network with its loops unrolled, for inputs of one size",
        )
    unknown = [
        node.op_type if node.domain in _OWN_DOMAINS else f"{node.domain}.{node.op_type}"
        for node in graph.node
        if node.domain not in _OWN_DOMAINS or node.op_type not in known
    ]
    if unknown:
        raise OnnxError(
            f"network {str(path)!r}",
            rule=f"{len(unknown)} of its {len(graph.node)} operators are not read "
            f"(opset {opset_of(model)}): {_counted(unknown)}",
            where=str(path),
            remedy="export it with operators of ONNX itself, or give the network as "
            "PyTorch code",
        )


def _counted(names: Iterator[str] | list[str]) -> str:
    counts = collections.Counter(names)
    shown = [f"{count}x {name}" for name, count in counts.most_common(40)]
    more = f" and {len(counts) - 40} more" if len(counts) > 40 else ""
    return ", ".join(shown) + more
