"""torchvision's networks beside a CPU build of torch."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import Any

import torch

__all__ = ["torchvision"]


@functools.cache
def torchvision() -> ModuleType:
    """Return torchvision, whose compiled part does not fit a CPU build of torch.

    Only its network definitions are wanted: the two operators that its import looks for
    are declared, not implemented.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library: Any = torch.library
        _LIBRARY.append(library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            _LIBRARY[0].define(operator + signature)
        return importlib.import_module("torchvision")


_LIBRARY: list[Any] = []  # its operators end with the object
