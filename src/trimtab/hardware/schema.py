"""The files that describe machines and links: what they may hold, and how it is read.

Every number of a file is an inline table with its value and exactly one key that says
how it is known: ``source``, ``derived``, ``recalled`` or ``measured``. A number without
one is refused, for nothing may be computed from a number nobody can trace. All problems
of a file are reported at once, each with its dotted path.
"""

from __future__ import annotations

import difflib
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trimtab.errors import MachineError
from trimtab.frozen import FrozenDict
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Cache,
    Core,
    Kind,
    Link,
    Machine,
    Memory,
    Origin,
    Source,
)

__all__ = [
    "ORIGIN_KEYS",
    "Origins",
    "Real",
    "Text",
    "Whole",
    "message",
    "parse_link",
    "parse_machine",
]

ORIGIN_KEYS = {
    Origin.SOURCED: "source",
    Origin.DERIVED: "derived",
    Origin.RECALLED: "recalled",
    Origin.MEASURED: "measured",
}
# The key of a file that states an origin.
_CLOSED = ConfigDict(extra="forbid")

Text: TypeAlias = Annotated[str, Field(pattern=r"\S")]
Efficiency: TypeAlias = Literal["matmul", "conv", "depthwise", "pool", "norm", "vector"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The keys of a number beside its value."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    source: Text | None = None
    derived: Text | None = None
    recalled: Text | None = None
    measured: Text | None = None

    def origins(self) -> list[Source]:
        """Return what is stated; a good number states one."""
        return [
            Source(origin=origin, text=text)
            for origin, key in ORIGIN_KEYS.items()
            if (text := getattr(self, key)) is not None
        ]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Origins):
    """A count; bounded so that it is exact as a float, too."""

    value: Annotated[int, Field(strict=True, gt=0, le=2**53)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Real(Origins):
    """A quantity that may have a fraction."""

    value: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _CoreFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    isa: Text
    llvm_cpu: Text
    frequency_hz: Real
    simd_bits: Whole
    fma_units: Real
    vector_registers: Whole


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _CacheFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    level: Annotated[int, Field(strict=True, ge=1)]
    size_bytes: Whole
    line_bytes: Whole
    ways: Whole
    shared_by_cores: Whole
    bandwidth_bytes_per_s: Real
    load_bytes_per_s: Real | None = None
    store_bytes_per_s: Real | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _MemoryFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    size_bytes: Whole
    bandwidth_bytes_per_s: Real
    core_bandwidth_bytes_per_s: Real
    core_load_bytes_per_s: Real | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _MachineFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Text
    title: str
    kind: Literal["cpu", "gpu"]
    fingerprint: str = ""
    cores: Whole
    dispatch_s: Real
    convolution_setup_s: Real
    repack_bytes_per_s: Real
    core: _CoreFile
    caches: list[_CacheFile] = field(default_factory=list)
    memory: _MemoryFile
    efficiency_frac: dict[Efficiency, Real]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _LinkFile:
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Text
    title: str
    uplink_bytes_per_s: Real
    downlink_bytes_per_s: Real
    rtt_s: Real


_FILES = (Whole, _CoreFile, _CacheFile, _MemoryFile, _MachineFile, _LinkFile)
_KNOWN_KEYS = (*(entry.name for file in _FILES for entry in fields(file)),)


def _parsed(text: str, file: str, adapter: TypeAdapter[T], what: str) -> T:
    """Return the record that a file holds, or raise with all of its problems."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise _wrong(what, file, [f"not TOML: {error}"]) from None
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        problems = [
            f"{_dotted(entry['loc'], raw)}: {message(entry['type'], entry)}"
            for entry in error.errors(include_url=False)
        ]
        raise _wrong(what, file, problems) from None


def _wrong(what: str, file: str, problems: Sequence[str]) -> MachineError:
    return MachineError(
        f"{what} file {file!r}",
        rule="; ".join(problems),
        where=f"{len(problems)} problem{'s' if len(problems) != 1 else ''}",
        remedy=f"correct the file; the catalogue's {what}s show the schema",
    )


def _dotted(location: Sequence[int | str], raw: Mapping[str, Any]) -> str:
    """Return the path of a problem; caches go by their level where they state one."""
    parts = [str(part) for part in location if part != "[key]"]
    if len(location) > 1 and location[0] == "caches" and isinstance(location[1], int):
        entry = raw["caches"][location[1]]
        level = entry.get("level") if isinstance(entry, dict) else None
        if type(level) is int:
            return ".".join(["caches", str(level), *parts[2:]])
        return ".".join([f"caches[{location[1]}]", *parts[2:]])
    return ".".join(parts)


def message(
    kind: str, entry: Mapping[str, Any], known: Sequence[str] = _KNOWN_KEYS
) -> str:
    """Return what is wrong, in our words.

    Args:
        kind: of the error, as pydantic calls it.
        entry: the error.
        known: keys that may have been meant.
    """
    location, value = entry["loc"], entry["input"]
    if kind in ("missing", "missing_argument"):
        return "missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        return "unknown key" + (f", did you mean {close[0]!r}?" if close else "")
    if kind == "string_pattern_mismatch":
        return "it must not be blank"
    if location[-1] == "[key]":
        return "unknown class, known are " + ", ".join(EFFICIENCY_CLASSES)
    if kind == "dataclass_type":
        number = "Whole" in entry["msg"] or "Real" in entry["msg"]
        return 'it must be { value = ..., source = "..." }' if number else "no table"
    shown = reprlib.repr(value) if isinstance(value, str | int | float) else ""
    text = f"{entry['msg'][:1].lower()}{entry['msg'][1:]}"
    return f"{text}, not {shown}" if shown else text


def _quantities(record: object, prefix: str = "") -> dict[str, Whole | Real]:
    """Return every number of a file under its dotted path."""
    found: dict[str, Whole | Real] = {}
    for entry in fields(record):  # type: ignore[arg-type]
        value, path = getattr(record, entry.name), f"{prefix}{entry.name}"
        if isinstance(value, Whole | Real):
            found[path] = value
        elif isinstance(value, dict):
            found |= {f"{path}.{key}": number for key, number in value.items()}
        elif isinstance(value, list):
            for cache in value:
                found |= _quantities(cache, f"{path}.{cache.level}.")
        elif isinstance(value, _CoreFile | _MemoryFile):
            found |= _quantities(value, f"{path}.")
    return found


def _sources(record: _MachineFile | _LinkFile, file: str) -> FrozenDict[str, Source]:
    what = "machine" if isinstance(record, _MachineFile) else "link"
    found: dict[str, Source] = {}
    problems = []
    for path, number in _quantities(record).items():
        origins = number.origins()
        if len(origins) == 1:
            found[path] = origins[0]
        else:
            problems.append(
                f"{path}: {len(origins)} origins, it needs exactly one of "
                + ", ".join(ORIGIN_KEYS.values())
            )
    if problems:
        raise _wrong(what, file, problems)
    return FrozenDict(found)


def _value(number: Real | None) -> float | None:
    return None if number is None else number.value


_MACHINE_FILE = TypeAdapter(_MachineFile)
_LINK_FILE = TypeAdapter(_LinkFile)


def parse_machine(text: str, file: str) -> Machine:
    """Return the machine that TOML describes.

    Args:
        text: the TOML.
        file: what errors call it.

    Raises:
        MachineError: the text breaks the schema; each problem is named with its place.

    Example:
        >>> parse_machine("cores = 4", "a.toml")
        Traceback (most recent call last):
        ...
        trimtab.errors.MachineError: machine file 'a.toml': name: missing; ...
    """
    record = _parsed(text, file, _MACHINE_FILE, "machine")
    levels = [cache.level for cache in record.caches]
    if levels != sorted(set(levels)):
        raise _wrong(
            "machine", file, [f"caches: levels {levels} must rise from the innermost"]
        )
    return Machine(
        name=record.name,
        title=record.title,
        kind=Kind(record.kind),
        cores=record.cores.value,
        core=Core(
            isa=record.core.isa,
            llvm_cpu=record.core.llvm_cpu,
            frequency_hz=record.core.frequency_hz.value,
            simd_bits=record.core.simd_bits.value,
            fma_units=record.core.fma_units.value,
            vector_registers=record.core.vector_registers.value,
        ),
        caches=tuple(
            Cache(
                level=cache.level,
                size_bytes=cache.size_bytes.value,
                line_bytes=cache.line_bytes.value,
                ways=cache.ways.value,
                shared_by_cores=cache.shared_by_cores.value,
                bandwidth_bytes_per_s=cache.bandwidth_bytes_per_s.value,
                load_bytes_per_s=_value(cache.load_bytes_per_s),
                store_bytes_per_s=_value(cache.store_bytes_per_s),
            )
            for cache in record.caches
        ),
        memory=Memory(
            size_bytes=record.memory.size_bytes.value,
            bandwidth_bytes_per_s=record.memory.bandwidth_bytes_per_s.value,
            core_bandwidth_bytes_per_s=record.memory.core_bandwidth_bytes_per_s.value,
            core_load_bytes_per_s=_value(record.memory.core_load_bytes_per_s),
        ),
        dispatch_s=record.dispatch_s.value,
        convolution_setup_s=record.convolution_setup_s.value,
        repack_bytes_per_s=record.repack_bytes_per_s.value,
        efficiency_frac=FrozenDict(
            {key: number.value for key, number in record.efficiency_frac.items()}
        ),
        sources=_sources(record, file),
        fingerprint=record.fingerprint,
    )


def parse_link(text: str, file: str) -> Link:
    r"""Return the link that TOML describes.

    Args:
        text: the TOML.
        file: what errors call it.

    Raises:
        MachineError: the text breaks the schema; each problem is named with its place.

    Example:
        >>> quantity = "{ value = 1e6, recalled = 'an example' }"
        >>> parse_link(
        ...     f"name = 'x'\ntitle = 'X'\nuplink_bytes_per_s = {quantity}\n"
        ...     f"downlink_bytes_per_s = {quantity}\nrtt_s = {quantity}", "x.toml"
        ... ).rtt_s
        1000000.0
    """
    record = _parsed(text, file, _LINK_FILE, "link")
    return Link(
        name=record.name,
        title=record.title,
        uplink_bytes_per_s=record.uplink_bytes_per_s.value,
        downlink_bytes_per_s=record.downlink_bytes_per_s.value,
        rtt_s=record.rtt_s.value,
        sources=_sources(record, file),
    )
