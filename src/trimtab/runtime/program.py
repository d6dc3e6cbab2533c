"""A compiled network as data: buffers, and the kernels to call on them in order.

What the compiler leaves and what `trimtab.runtime.kernels` runs. A program knows no
shapes but sizes in bytes: kernels are compiled for their shapes and take raw pointers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trimtab.graph.types import TensorType

__all__ = ["Argument", "Call", "Code", "Fallback", "Program", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What machine code was made for.

    Attributes:
        machine: the name of the machine's description.
        llvm_cpu: LLVM's name of the core.
        triple: LLVM's target triple, such as ``x86_64-linux-gnu``.
        features: of the instruction set that the code needs, as LLVM names them,
            ``avx2``, ``fma``.
        threads: a call uses; with one, no pool of threads is started.
    """

    machine: str
    llvm_cpu: str
    triple: str
    features: tuple[str, ...]
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Compiled kernels.

    Attributes:
        kind: a shared library that needs libc alone, or LLVM's text, which takes TVM to
            load: that is kept where no linker was found. Either tells the sizes of the
            buffers of its kernels.
        data: content of the file.
    """

    kind: Literal["shared", "llvm"]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """Where a kernel finds one of its buffers.

    Attributes:
        kind: an input or output of the network, a packed constant, or working memory.
        index: of the input or output; 0 for the others.
        name: of the constant; empty for the others.
        offset_bytes: from the start of that memory.
    """

    kind: Literal["input", "output", "constant", "workspace"]
    index: int = 0
    name: str = ""
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a compiled kernel.

    Attributes:
        function: name in the library.
        arguments: raw pointers, in this order.
        nodes: names of the graph's nodes that it computes.
    """

    function: str
    arguments: tuple[Argument, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """One node of the graph that has no kernel of ours and runs through `torch.ops`.

    Attributes:
        node: its name in the graph.
        reads: for each tensor the node reads (in the order of `Node.inputs`), where a
            dense row-major copy of it stands. Constants of the graph are not listed:
            the executor has them.
        writes: for each output, where its dense row-major value goes.
    """

    node: str
    reads: tuple[tuple[str, Argument], ...]
    writes: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A network compiled for inputs of fixed shapes.

    Attributes:
        inputs: types of the network's tensor inputs.
        outputs: types of its tensor outputs.
        workspace_bytes: of working memory that a call needs.
        zeroed: parts of the workspace, as offset and size in bytes, that hold zeros
            before the first call; kernels leave them zero.
        steps: what to do, in order.
    """

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    workspace_bytes: int
    zeroed: tuple[tuple[int, int], ...]
    steps: tuple[Call | Fallback, ...]
