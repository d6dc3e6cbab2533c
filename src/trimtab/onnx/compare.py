"""A file beside the network that it was made of: both are run on the same inputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trimtab.errors import OnnxError

__all__ = ["Comparison", "compare"]

_MOST: Final = {torch.float16: 3e-2, torch.bfloat16: 1e-1}
_MOST_ELSE: Final = 1e-3
# Of the largest number of a result: sums in another order, over a deep network.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far a file is from its network.

    Attributes:
        largest_difference: between two numbers of the results.
        relative_difference: the largest over the largest number of that result.
        calls: how many calls were compared, of different numbers of rows.
        engine: what ran the file.
    """

    largest_difference: float
    relative_difference: float
    calls: int
    engine: str


def compare(
    file: Path, network: nn.Module, calls: Sequence[tuple[Any, Any]]
) -> Comparison | None:
    """Return how far the results of a file are from those of its network.

    Args:
        file: an ONNX file that takes all tensors of a call, in order.
        network: what it was made of.
        calls: arguments and keywords.

    Returns:
        None where onnxruntime is not installed.

    Raises:
        OnnxError: it does not run, or computes something else.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        names = [each.name for each in session.get_inputs()]
        differences = []
        for args, keywords in calls:
            tensors = _tensors((args, keywords))
            with torch.no_grad():
                expected = _tensors(network(*args, **keywords))
            # What no result depends on, the exporter may have left out.
            feeds = {
                name: each.detach().numpy()
                for name, each in zip(names, tensors, strict=True)
            }
            found = session.run(None, feeds)
            differences.append(_difference(expected, found))
    except OnnxError:
        raise
    except Exception as error:  # onnxruntime's own classes
        raise OnnxError(
            "the network as ONNX",
            rule=f"onnxruntime cannot run it: {str(error).splitlines()[0][:300]}",
            where=str(file.name),
            remedy="try another --opset",
        ) from error
    return Comparison(
        largest_difference=max(each for each, _ in differences),
        relative_difference=max(each for _, each in differences),
        calls=len(calls),
        engine=f"onnxruntime {onnxruntime.__version__}",
    )


def _tensors(values: Any) -> list[Tensor]:
    return [each for each in pytree.tree_leaves(values) if isinstance(each, Tensor)]


def _difference(
    expected: Sequence[Tensor], found: Sequence[Any]
) -> tuple[float, float]:
    if len(expected) != len(found):
        raise _other(f"it has {len(found)} results instead of {len(expected)}")
    largest, relative = 0.0, 0.0
    for index, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        if tuple(ours.shape) != theirs.shape:
            shapes = f"{theirs.shape} instead of {tuple(ours.shape)}"
            raise _other(f"result {index} is of shape {shapes}")
        a, b = ours.double().numpy(), np.asarray(theirs, np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities too
        with np.errstate(invalid="ignore"):
            gaps = np.where(same, 0.0, np.abs(a - b))
        gap = float(gaps.max(initial=0.0))
        finite = np.abs(a[np.isfinite(a)])
        scale = float(finite.max(initial=0.0)) or 1.0
        if not gap / scale <= _MOST.get(ours.dtype, _MOST_ELSE):
            raise _other(f"result {index} differs by {gap:.3g}, of {scale:.3g} at most")
        largest, relative = max(largest, gap), max(relative, gap / scale)
    return largest, relative


def _other(rule: str) -> OnnxError:
    return OnnxError(
        "the network as ONNX",
        rule=f"its file computes something else: {rule}",
        where="onnxruntime",
        remedy="try another --opset; nothing was written",
    )
