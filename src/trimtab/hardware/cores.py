"""What a core does with one instruction: ports, micro-operations, latencies, as data.

A table of `catalogue/cores/` describes one microarchitecture by rows: a class of
instructions at some widths, the ports that may execute its micro-operations, and the
cycles until its result can be used. Every row and every number says where it is from,
like the numbers of a machine (`trimtab.hardware.schema`). A table may extend another:
its own rows come first.

Tables hold facts of single instructions, never of a kernel: what a loop takes follows
from them by arithmetic (`trimtab.compiler.assembly`).
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources.abc import Traversable
from typing import Annotated, Any, ClassVar, final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trimtab.errors import MachineError, UnknownMachineError
from trimtab.frozen import FrozenDict
from trimtab.hardware.machine import Source
from trimtab.hardware.operations import Operation
from trimtab.hardware.ports import busiest, work_of
from trimtab.hardware.schema import Origins, Real, Text, Whole, message

__all__ = [
    "MicroOp",
    "Microarchitecture",
    "Row",
    "core_names",
    "core_table",
    "microarchitecture",
    "parse_core",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MicroOp:
    """One thing that an instruction has done by a port.

    Attributes:
        ports: that can do it, one of them does.
        cycles: for which the port is taken.
    """

    ports: frozenset[str]
    cycles: float = 1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one class of instructions costs.

    Attributes:
        operations: the classes.
        bits: widths it holds for; all where empty. A scalar has the width of its
            element.
        uops: micro-operations.
        latency: cycles from the operands to the result.
        accumulate_latency: cycles from the operand that is added to, where shorter.
        slots: of the front end.
        source: where the row is from.
    """

    operations: tuple[Operation, ...]
    bits: tuple[int, ...]
    uops: tuple[MicroOp, ...]
    latency: float
    accumulate_latency: float
    slots: int
    source: Source

    def holds(self, operation: Operation, bits: int) -> bool:
        """Return whether the row describes that instruction."""
        return operation in self.operations and (not self.bits or bits in self.bits)


@final
@dataclass(frozen=True, kw_only=True)
class Microarchitecture:
    """One kind of core; no slots, for what was looked up is kept beside it.

    Attributes:
        name: of the table.
        title: for people.
        llvm_cpus: names LLVM knows its processors by.
        ports: names of all ports.
        issue_width: front end slots a cycle.
        store_forward_cycles: from a value that is stored to the load that reads it.
        mispredict_cycles: lost when a branch was guessed wrong, as at a loop's end.
        vector_registers: architectural.
        integer_registers: architectural, with the stack pointer.
        fuses_branches: whether a compare and its branch take one slot.
        splits_indexed: whether an operation with a folded load of an indexed address
            takes two slots.
        in_order: whether instructions start in the order of the program.
        rows: the first that holds is valid.
        sources: of the numbers that are not in a row, by name.
    """

    name: str
    title: str
    llvm_cpus: tuple[str, ...]
    ports: tuple[str, ...]
    issue_width: float
    store_forward_cycles: float
    mispredict_cycles: float
    vector_registers: int
    integer_registers: int
    fuses_branches: bool
    splits_indexed: bool
    in_order: bool
    rows: tuple[Row, ...]
    sources: Mapping[str, Source] = field(default_factory=FrozenDict)

    @functools.cached_property
    def _found(self) -> dict[tuple[Operation, int], Row | None]:
        return {}

    def row(self, operation: Operation, bits: int = 0) -> Row | None:
        """Return the costs of an instruction, or None where the table has none.

        Example:
            >>> microarchitecture("znver3").row(Operation.FMA, 256).latency
            4.0
        """
        key = (operation, bits)
        if key not in self._found:
            holds = (row for row in self.rows if row.holds(operation, bits))
            self._found[key] = next(holds, None)
        return self._found[key]

    def throughput(self, operation: Operation, bits: int) -> float:
        """Return how many such instructions alone can start a cycle.

        Raises:
            UnknownMachineError: the table has no row for them.

        Example:
            >>> microarchitecture("znver3").throughput(Operation.FMA, 256)
            2.0
        """
        row = self.row(operation, bits)
        if row is None:
            raise UnknownMachineError(
                f"{operation.value} of {bits} bits on {self.title}",
                rule="the table of the core has no row for it",
                where=f"hardware/catalogue/cores/{self.name}.toml",
                remedy=f"add a row with operations = [{operation.value!r}] and its "
                "origin",
            )
        load = max(busiest(work_of(row.uops)).values(), default=0.0)
        return 1.0 / max(load, row.slots / self.issue_width)


# ---------------------------------------------------------------- the files

_CLOSED = ConfigDict(extra="forbid")
_UOP = re.compile(r"(?:(\d+(?:\.\d+)?)\*)?(\w+(?:\|\w+)*)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _RowFile(Origins):
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    operations: Annotated[list[Operation], Field(min_length=1)]
    bits: list[Annotated[int, Field(strict=True, ge=0)]] = field(default_factory=list)
    uops: list[Annotated[str, Field(pattern=rf"^{_UOP.pattern}$")]]
    latency: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    accumulate_latency: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    slots: Annotated[int, Field(strict=True, ge=1)] = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _CoreFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Text
    title: Text
    llvm_cpus: list[Text]
    extends: Text | None = None
    ports: list[Annotated[str, Field(pattern=r"^\w+$")]] | None = None
    issue_width: Real | None = None
    store_forward_cycles: Real | None = None
    mispredict_cycles: Real | None = None
    vector_registers: Whole | None = None
    integer_registers: Whole | None = None
    fuses_branches: bool | None = None
    splits_indexed: bool | None = None
    in_order: bool | None = None
    rows: list[_RowFile] = field(default_factory=list)


_ADAPTER = TypeAdapter(_CoreFile)
_NUMBERS = (
    "issue_width",
    "store_forward_cycles",
    "mispredict_cycles",
    "vector_registers",
    "integer_registers",
)
_FLAGS = ("fuses_branches", "splits_indexed", "in_order")


def parse_core(
    text: str, file: str, base: Microarchitecture | None = None
) -> Microarchitecture:
    """Return the microarchitecture that TOML describes.

    Args:
        text: the TOML.
        file: what errors call it.
        base: the table that it extends; read from the catalogue if None.

    Raises:
        MachineError: the text breaks the schema; each problem is named with its place.

    Example:
        >>> parse_core("cores = 4", "a.toml")
        Traceback (most recent call last):
        ...
        trimtab.errors.MachineError: core file 'a.toml': name: missing; ...
    """
    try:
        record = _ADAPTER.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _wrong(file, [f"not TOML: {error}"]) from None
    except ValidationError as error:
        raise _wrong(
            file,
            [
                f"{_dotted(each['loc'])}: {message(each['type'], each, _KEYS)}"
                for each in error.errors(include_url=False)
            ],
        ) from None
    if record.extends is not None and base is None:
        base = core_table(record.extends)
    problems = []
    values: dict[str, Any] = {}
    sources = dict(base.sources) if base else {}
    for name in (*_NUMBERS, *_FLAGS, "ports"):
        value = getattr(record, name)
        if value is None and base is None:
            problems.append(f"{name}: missing, and no table is extended")
        elif value is None:
            values[name] = getattr(base, name)
        elif name in _NUMBERS:
            values[name] = value.value
            problems += _origin(name, value, sources)
        else:
            values[name] = tuple(value) if name == "ports" else value
    rows = []
    for index, each in enumerate(record.rows):
        path = f"rows[{index}] ({', '.join(each.operations)})"
        found: dict[str, Source] = {}
        problems += _origin(path, each, found)
        uops = tuple(map(_uop, each.uops))
        known = set(values.get("ports", ()))
        for port in sorted(set().union(*(uop.ports for uop in uops)) - known):
            problems.append(f"{path}: port {port!r} is not in ports")
        if path in found:
            rows.append(
                Row(
                    operations=tuple(each.operations),
                    bits=tuple(each.bits),
                    uops=uops,
                    latency=float(each.latency),
                    accumulate_latency=float(
                        each.latency
                        if each.accumulate_latency is None
                        else each.accumulate_latency
                    ),
                    slots=each.slots,
                    source=found[path],
                )
            )
    if problems:
        raise _wrong(file, problems)
    return Microarchitecture(
        name=record.name,
        title=record.title,
        llvm_cpus=tuple(record.llvm_cpus),
        rows=(*rows, *(base.rows if base else ())),
        sources=FrozenDict(sources),
        **values,
    )


def _uop(text: str) -> MicroOp:
    cycles, ports = _UOP.fullmatch(text).groups()  # type: ignore[union-attr]
    return MicroOp(ports=frozenset(ports.split("|")), cycles=float(cycles or 1))


def _origin(path: str, stated: Origins, sources: dict[str, Source]) -> Sequence[str]:
    origins = stated.origins()
    if len(origins) != 1:
        return [f"{path}: {len(origins)} origins, it needs exactly one"]
    sources[path] = origins[0]
    return []


def _dotted(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".")


def _wrong(file: str, problems: Sequence[str]) -> MachineError:
    return MachineError(
        f"core file {file!r}",
        rule="; ".join(problems),
        where=f"{len(problems)} problem{'s' if len(problems) != 1 else ''}",
        remedy="correct the file; the catalogue's cores show the schema",
    )


_KEYS = tuple(
    entry.name for file in (_CoreFile, _RowFile, Whole) for entry in fields(file)
)

# ---------------------------------------------------------------- the catalogue


def _folder() -> Traversable:
    return importlib.resources.files("trimtab.hardware") / "catalogue" / "cores"


@functools.cache
def core_names() -> tuple[str, ...]:
    """Return the names of the catalogue's tables, sorted.

    Example:
        >>> "znver3" in core_names()
        True
    """
    files = (entry.name for entry in _folder().iterdir())
    return tuple(sorted(name[:-5] for name in files if name.endswith(".toml")))


@functools.cache
def core_table(name: str) -> Microarchitecture:
    """Return a table by its own name.

    Raises:
        UnknownMachineError: there is none of that name.
    """
    if name not in core_names():
        raise UnknownMachineError(
            f"core table {name!r}",
            rule="no table of that name is in the catalogue",
            remedy="known are " + ", ".join(core_names()),
        )
    text = (_folder() / f"{name}.toml").read_text(encoding="utf-8")
    return parse_core(text, f"catalogue/cores/{name}.toml")


@functools.cache
def _by_cpu() -> Mapping[str, str]:
    return {cpu: name for name in core_names() for cpu in core_table(name).llvm_cpus}


def microarchitecture(llvm_cpu: str) -> Microarchitecture:
    """Return the table of a processor by LLVM's name (`Core.llvm_cpu`).

    Raises:
        UnknownMachineError: no table names that processor.

    Example:
        >>> microarchitecture("cascadelake").name
        'skylake-avx512'
    """
    names = _by_cpu()
    if llvm_cpu not in names:
        raise UnknownMachineError(
            f"processor {llvm_cpu!r}",
            rule="no table of ports and latencies names it",
            where="hardware/catalogue/cores",
            remedy="add its name to the table it resembles, or a table of its own; "
            "known are " + ", ".join(sorted(names)),
        )
    return core_table(names[llvm_cpu])
