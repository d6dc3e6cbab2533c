"""Whether a program stays within its memory, before its first call.

A kernel writes wherever it is pointed to. The library tells how large the buffers of
its kernels are; here every pointer of a program is held against the memory it points
into, so that a program from a file can do no more harm than its library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.errors import ExecutionError
from trimtab.graph.types import Graph, Ref
from trimtab.runtime.program import Argument, Call, Fallback, Program

__all__ = ["check_program", "reads_of"]

_ALIGNMENT = 64
_MAX_WORKSPACE = 1 << 42


def check_program(
    program: Program,
    *,
    signatures: Mapping[str, Sequence[int]],
    constants: Mapping[str, int],
    graph: Graph | None = None,
) -> None:
    """Refuse a program that reaches beyond its memory.

    Args:
        program: to check.
        signatures: sizes in bytes of the buffers of each kernel.
        constants: their sizes in bytes.
        graph: that fallbacks are nodes of.

    Raises:
        ExecutionError: it does.
    """
    if not 0 <= program.workspace_bytes <= _MAX_WORKSPACE:
        raise _wrong(
            f"a workspace of {program.workspace_bytes} bytes",
            f"it has between 0 and {_MAX_WORKSPACE} bytes",
        )
    for offset, size in program.zeroed:
        if offset < 0 or size < 0 or offset + size > program.workspace_bytes:
            raise _wrong(
                f"zeros in bytes {offset} to {offset + size}",
                f"the workspace has {program.workspace_bytes} bytes",
            )
    memory = _Memory(program, constants)
    for index, step in enumerate(program.steps):
        where = f"step {index}"
        if isinstance(step, Call):
            sizes = signatures.get(step.function)
            if sizes is None:
                raise _wrong(
                    f"kernel {step.function!r}", "the library does not have it", where
                )
            if len(sizes) != len(step.arguments):
                raise _wrong(
                    f"kernel {step.function!r} with {len(step.arguments)} buffers",
                    f"it takes {len(sizes)}",
                    where,
                )
            for argument, size in zip(step.arguments, sizes, strict=True):
                memory.check(argument, size, f"{where}, kernel {step.function!r}")
        else:
            _check_fallback(step, graph, memory, where)


def reads_of(step: Fallback, graph: Graph) -> dict[Ref, Argument]:
    """Return where the values stand that a fallback reads.

    Raises:
        ExecutionError: it names one that its node does not read.
    """
    node = graph.node(step.node)
    known = {str(ref): ref for ref in node.inputs}
    found = {}
    for name, argument in step.reads:
        if name not in known:
            raise _wrong(
                f"value {name!r}",
                "the node does not read it",
                f"node {step.node!r}",
            )
        found[known[name]] = argument
    return found


def _check_fallback(
    step: Fallback, graph: Graph | None, memory: _Memory, where: str
) -> None:
    if graph is None:
        raise _wrong(
            f"node {step.node!r} outside of the kernels", "there is no graph", where
        )
    node = graph.node(step.node)
    where = f"{where}, node {step.node!r}"
    for ref, argument in reads_of(step, graph).items():
        memory.check(argument, graph.type_of(ref).size_bytes, where)
    results = [each for each in node.outputs if each is not None]
    if len(results) != len(step.writes):
        raise _wrong(
            f"{len(step.writes)} results", f"the node has {len(results)}", where
        )
    for kind, argument in zip(results, step.writes, strict=True):
        if argument.kind not in ("workspace", "output"):
            raise _wrong(f"a result in a {argument.kind}", "those are read only", where)
        memory.check(argument, kind.size_bytes, where)


class _Memory:
    """How much there is of each kind."""

    def __init__(self, program: Program, constants: Mapping[str, int]) -> None:
        self._program = program
        self._constants = constants

    def check(self, argument: Argument, size: int, where: str) -> None:
        have = self._size(argument, where)
        start = argument.offset_bytes
        if start < 0 or start + size > have:
            raise _wrong(
                f"bytes {start} to {start + size} of {_name(argument)}",
                f"it has {have} bytes",
                where,
            )
        if start % _ALIGNMENT:
            raise _wrong(
                f"byte {start} of {_name(argument)}",
                f"buffers start at multiples of {_ALIGNMENT} bytes",
                where,
            )

    def _size(self, argument: Argument, where: str) -> int:
        if argument.kind == "workspace":
            return self._program.workspace_bytes
        if argument.kind == "constant":
            if argument.name not in self._constants:
                raise _wrong(_name(argument), "there is none of that name", where)
            return self._constants[argument.name]
        kinds = (
            self._program.inputs if argument.kind == "input" else self._program.outputs
        )
        if not 0 <= argument.index < len(kinds):
            raise _wrong(_name(argument), f"there are {len(kinds)}", where)
        return kinds[argument.index].size_bytes


def _name(argument: Argument) -> str:
    if argument.kind == "constant":
        return f"constant {argument.name!r}"
    if argument.kind == "workspace":
        return "the workspace"
    return f"{argument.kind} {argument.index}"


def _wrong(asked: str, rule: str, where: str = "") -> ExecutionError:
    return ExecutionError(
        asked,
        rule=rule,
        where=", ".join(filter(None, ["compiled program", where])),
        remedy="compile the network again",
    )
