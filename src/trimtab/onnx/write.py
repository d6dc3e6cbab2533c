"""A network as an ONNX file: checked, compared with its source, then in place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from trimtab.errors import OnnxError, UsageError
from trimtab.graph.capture import quiet
from trimtab.graph.module import GraphModule
from trimtab.graph.tree import flatten
from trimtab.onnx.compare import Comparison, compare
from trimtab.onnx.read import require_package
from trimtab.onnx.unfold import unfold

__all__ = ["DEFAULT_OPSET", "OPSETS", "Written", "require_free", "write"]

DEFAULT_OPSET: Final = 20
"""What torch's exporter writes by itself."""

OPSETS: Final = range(18, 24)
"""Versions of ONNX's operators that can be written."""

_BATCH: Final = "batch"
_MODES: Final = {"sum": torch.sum, "mean": torch.mean}
_INLINE_BYTES: Final = 1 << 30
# Weights up to here stand in the file; beyond, protobuf's limit of 2 GB is near.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A network that stands in a file.

    Attributes:
        path: of the file.
        opset: version of its operators.
        operators: how many it has.
        bytes: of the file, and of the data beside it.
        inputs: its inputs, with ``batch`` where any number of rows may come.
        outputs: its results.
        any_batch: whether it takes any number of rows.
        comparison: with the network's own results; None without onnxruntime.
    """

    path: Path
    opset: int
    operators: int
    bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    any_batch: bool
    comparison: Comparison | None


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a place where something stands that must stay, or that is no place.

    Raises:
        UsageError: there is something, or no folder.
    """
    if path.suffix != ".onnx":
        raise UsageError(
            f"output {str(path)!r}",
            rule="an ONNX file ends in .onnx",
            where="--output",
            remedy="name it so",
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"output {str(path)!r}",
            rule="there is no such folder",
            where="--output",
            remedy="make the folder first",
        )
    if path.is_dir() or (path.exists() and not overwrite):
        raise UsageError(
            f"output {str(path)!r}",
            rule="something stands there",
            where="--output",
            remedy="give another name, or --overwrite",
        )


def write(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    path: Path,
    opset: int = DEFAULT_OPSET,
    any_batch: bool = True,
    overwrite: bool = False,
) -> Written:
    """Write a network as an ONNX file, whole or not at all.

    What is written is checked by ``onnx.checker`` and, where onnxruntime is installed,
    run beside the network on the example inputs, and on other numbers of rows if it
    takes any: a file that computes something else is not left behind.

    Args:
        module: in evaluation mode.
        args: positional inputs of one call.
        kwargs: keyword inputs of one call.
        path: of the file to make.
        opset: version of the operators.
        any_batch: let the first axis of all inputs, where they have the same, be of
            any length. A graph has fixed shapes and is written with those.
        overwrite: whether a file that stands there may be replaced.

    Raises:
        UsageError: a place or version that is no good.
        MissingExtraError: ``onnx`` or ``onnxscript`` is not installed.
        OnnxError: the network cannot be said in ONNX, not with any number of rows, or
            its file computes something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = write(nn.Linear(3, 2).eval(), (torch.ones(1, 3),),
        ...                  path=Path(folder, "net.onnx"))
        >>> made.inputs, made.any_batch
        (('input=float32[batch,3]',), True)
    """
    require_free(path, overwrite=overwrite)
    if opset not in OPSETS:
        raise UsageError(
            f"opset {opset}",
            rule=f"from {OPSETS.start} to {OPSETS.stop - 1} can be written",
            where="--opset",
            remedy=f"give {DEFAULT_OPSET}",
        )
    for name in ("onnx", "onnxscript"):
        require_package("writing an ONNX file", name)
    keywords = dict(kwargs or {})
    if isinstance(module, GraphModule):
        leaves = flatten((args, keywords), module.graph.input_tree)
        args = tuple(each for each in leaves if isinstance(each, Tensor))
        network: nn.Module = unfold(module.graph, dict(module.state_dict()))
        keywords, any_batch = {}, False
    else:
        network = module
    rows = _rows((args, keywords)) if any_batch else 0
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        file = draft / path.name
        with torch.no_grad():
            _export(network, args, keywords, file, opset=opset, rows=rows)
            model = _checked(file, opset)
            comparison = compare(file, network, _calls(args, keywords, rows))
        written = sum(each.stat().st_size for each in draft.iterdir())
        _move(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Written(
        path=path,
        opset=opset,
        operators=len(model.graph.node),
        bytes=written,
        inputs=tuple(map(_port, model.graph.input)),
        outputs=tuple(map(_port, model.graph.output)),
        any_batch=rows > 0,
        comparison=comparison,
    )


def _rows(inputs: Any) -> int:
    """Return the length of the first axis, 0 where the inputs have none in common."""
    tensors = [each for each in pytree.tree_leaves(inputs) if isinstance(each, Tensor)]
    lengths = {each.shape[0] if each.dim() else 0 for each in tensors}
    return lengths.pop() if len(lengths) == 1 else 0


def _with_rows(inputs: Any, count: int) -> Any:
    """Return inputs with another number of rows: the same ones, again and again."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        places = torch.arange(count) % leaf.shape[0]
        return leaf[places].contiguous()

    return pytree.tree_map(one, inputs)


def _calls(args: Any, keywords: Any, rows: int) -> list[tuple[Any, Any]]:
    """Return the inputs of the calls that are compared."""
    counts = sorted({1, rows, rows + 2}) if rows else []
    more = [_with_rows((args, keywords), each) for each in counts if each != rows]
    return [(args, keywords), *more]


def _export(
    network: nn.Module,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
    file: Path,
    *,
    opset: int,
    rows: int,
) -> None:
    shapes = None
    if rows:
        # One row would be taken for a size of its own: torch.export fixes ones.
        args, keywords = _with_rows((args, keywords), max(rows, 2))
        axis = torch.export.Dim(_BATCH)
        shapes = pytree.tree_map(
            lambda leaf: {0: axis} if isinstance(leaf, Tensor) else None,
            (args, keywords),
        )
    size = sum(each.nbytes for each in network.state_dict().values())
    try:
        with quiet(), _RowsOfBags():
            program = torch.export.export(
                network,
                args,
                keywords,
                dynamic_shapes=None if shapes is None else _named(network, shapes),
                strict=False,
            )
        with quiet():
            torch.onnx.export(
                program,
                (),
                str(file),
                dynamo=True,
                opset_version=opset,
                external_data=size > _INLINE_BYTES,
            )
    except (Exception, SystemExit) as error:
        raise _refused(error, rows) from error


def _named(network: nn.Module, shapes: tuple[Any, Any]) -> Any:
    """Return shapes of inputs as torch.export takes them: all in order."""
    positional, keywords = shapes
    return (*positional, *keywords.values()) if keywords else positional


def _refused(error: BaseException, rows: int) -> OnnxError:
    cause: BaseException = error
    while cause.__cause__ is not None and type(cause).__module__.startswith(
        "torch.onnx"
    ):
        cause = cause.__cause__
    lines = [each for each in str(cause).splitlines() if each.strip()]
    rule = (lines or [type(cause).__name__])[0].strip()[:300].rstrip(".")
    fixed = "write it for these shapes alone (--fixed)"
    return OnnxError(
        "the network as ONNX" + (" for any number of rows" if rows else ""),
        rule=rule,
        where="torch.onnx.export",
        remedy=fixed if rows else "write the network with operators that ONNX has",
    )


@final
class _RowsOfBags(TorchFunctionMode):
    """Bags of one length as rows and their sum: ONNX has no bags, but loops."""

    def __torch_function__(
        self,
        function: Any,
        types: Sequence[Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return what a function returns."""
        given = dict(kwargs or {})
        if function is F.embedding_bag:
            given.update(zip(_BAG_ARGUMENTS, args, strict=False))
            places, mode = given["input"], given.get("mode", "mean")
            rare = ("per_sample_weights", "padding_idx", "max_norm", "offsets")
            if (
                places.dim() == 2
                and mode in _MODES
                and all(given.get(name) is None for name in rare)
            ):
                return _MODES[mode](F.embedding(places, given["weight"]), 1)
        return function(*args, **(kwargs or {}))


_BAG_ARGUMENTS: Final = (
    "input",
    "weight",
    "offsets",
    "max_norm",
    "norm_type",
    "scale_grad_by_freq",
    "mode",
    "sparse",
    "per_sample_weights",
    "include_last_offset",
    "padding_idx",
)


def _checked(file: Path, opset: int) -> Any:
    """Return the model of a file, without its data."""
    import onnx

    try:
        onnx.checker.check_model(str(file))
    except Exception as error:
        raise OnnxError(
            "the network as ONNX",
            rule=str(error).strip().splitlines()[0][:300],
            where="onnx.checker",
            remedy="write the network with operators that ONNX has",
        ) from error
    model = onnx.load(str(file), load_external_data=False)
    _name_batch(model)
    onnx.save(model, str(file))
    found = max(each.version for each in model.opset_import if not each.domain)
    if found != opset:
        raise OnnxError(
            f"opset {opset}",
            rule=f"this network can be written with version {found}, not with that",
            where="--opset",
            remedy=f"give {found}",
        )
    return model


def _name_batch(model: Any) -> None:
    """Call the open size of the inputs what it is: torch numbers its symbols."""
    graph = model.graph
    names = {
        each.type.tensor_type.shape.dim[0].dim_param
        for each in graph.input
        if each.type.tensor_type.shape.dim
    }
    if len(names) != 1 or not (symbol := names.pop()):
        return
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_param"):
                pattern = rf"\b{re.escape(symbol)}\b"
                size.dim_param = re.sub(pattern, _BATCH, size.dim_param)


def _move(draft: Path, path: Path) -> None:
    """Put the files where they belong, what the file refers to before the file."""
    for each in sorted(draft.iterdir(), key=lambda file: file.name == path.name):
        with each.open("rb") as file:
            os.fsync(file.fileno())
        each.replace(path.parent / each.name)


def _port(value: Any) -> str:
    """Return an input or result as text.

    Sizes that are no numbers stand under their names.
    """
    from onnx import helper

    kind = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    sizes = [
        str(each.dim_value) if each.HasField("dim_value") else each.dim_param or "?"
        for each in kind.shape.dim
    ]
    return f"{value.name}={dtype}[{','.join(sizes)}]"
