"""What PyTorch does for each operator of ONNX: a table that the modules here fill."""

from trimtab.onnx.operators import (
    elementwise,
    moves,
    norms,
    pieces,
    products,
    recurrent,
    reductions,
    resampling,
    windows,
)
from trimtab.onnx.operators.table import TRANSLATIONS, Operation

__all__ = [
    "TRANSLATIONS",
    "Operation",
    "elementwise",
    "moves",
    "norms",
    "pieces",
    "products",
    "recurrent",
    "reductions",
    "resampling",
    "windows",
]
