"""PyTorch's primitive operators as formulas.

PyTorch itself takes an operator apart into primitives (`trimtab.compiler.tvm.default`):
about 90, in which types are converted and shapes broadcast by primitives of their own.
Here each is one formula. What only moves or maps elements is a function from indices to
an expression and takes no memory; sums, windows and what is read often are stored.

An index from outside is brought into range before it addresses memory, and noted in
`Scope.checks`, so that the kernel can refuse it as PyTorch does.
"""

from trimtab.compiler.tvm.primitives import indexing, pointwise, shapes, sums, windows
from trimtab.compiler.tvm.primitives.value import (
    PRIMITIVES,
    Check,
    Kind,
    Scope,
    Value,
    derived,
)

assert all((indexing, pointwise, shapes, sums, windows))  # they fill the table

__all__ = ["PRIMITIVES", "Check", "Kind", "Scope", "Value", "derived"]
