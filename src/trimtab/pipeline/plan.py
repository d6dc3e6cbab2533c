"""The run file: TOML in, a checked plan out.

    name = "digits"              # of the bundle
    network = "zoo:digits_cnn"   # or package.module:factory, a .py file
    data = "digits"              # or an .npz, an image folder, package.module:factory
    machine = "this"             # or a name of the catalogue, or a .toml file
    output = "runs/digits"       # folder of the bundle and the report

    [budget]                     # hard limits; text may carry a unit
    parameters = "100k"
    latency_s = "2ms"

    [inspect]                    # a stage runs if its table is there
    [train]
    epochs = 6
    [verify]

Arguments on the command line beat the file, the file beats the defaults.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    with_config,
)

from trimtab.cost.verdict import Budget
from trimtab.errors import PlanError, TrimtabError
from trimtab.units import parse_bytes, parse_count, parse_duration

__all__ = ["Plan", "load_plan", "parse_plan", "validated"]

_MAX_BYTES = 1 << 20


def _with(parse: Any) -> BeforeValidator:
    """Read text with a unit; a plain number is in the base unit."""

    def read(value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("true and false are no numbers")  # noqa: TRY004 - pydantic
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except TrimtabError as error:
            raise ValueError(str(error).rstrip(".")) from error

    return BeforeValidator(read)


_Count = Annotated[int, _with(parse_count), Field(gt=0)] | None
_Bytes = Annotated[int, _with(parse_bytes), Field(gt=0)] | None
_Seconds = (
    Annotated[float, _with(parse_duration), Field(gt=0, allow_inf_nan=False)] | None
)
_Rate = Annotated[float, _with(parse_count), Field(gt=0, allow_inf_nan=False)] | None
_Share = Annotated[float, _with(float), Field(gt=0, le=1)] | None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class _BudgetTable:
    parameters: _Count = None
    multiply_adds: _Count = None
    weight_bytes: _Bytes = None
    peak_bytes: _Bytes = None
    latency_s: _Seconds = None
    accuracy_frac: _Share = None
    p95_latency_s: _Seconds = None
    throughput_per_s: _Rate = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class _PlanTable:
    network: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")] = "run"
    weights: str | None = None
    data: str | None = None
    input: list[str] = field(default_factory=list)
    machine: str = "this"
    threads: Annotated[int, Field(ge=1, le=4096, strict=True)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    output: str = "runs"
    budget: _BudgetTable = field(default_factory=_BudgetTable)


_ADAPTER: TypeAdapter[_PlanTable] = TypeAdapter(_PlanTable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked run file.

    Attributes:
        name: of the bundle.
        network: specification of the network.
        weights: a .safetensors file, or None.
        data: specification of the data set, or None.
        input: example inputs as text; empty where the network offers its own.
        machine: name or file.
        threads: one call may use.
        seed: of everything random.
        output: folder of the bundle and the report.
        budget: hard limits.
        stages: the table of every stage that shall run, by name.
        folder: of the run file, for relative paths of networks, weights and data.
        where: for messages.
    """

    name: str
    network: str
    weights: str | None
    data: str | None
    input: tuple[str, ...]
    machine: str
    threads: int
    seed: int
    output: Path
    budget: Budget
    stages: Mapping[str, Mapping[str, Any]]
    folder: Path
    where: str

    def resolved(self) -> dict[str, Any]:
        """Return what is written into the manifest: everything that shapes a result."""
        limits = {each.name: getattr(self.budget, each.name) for each in fields(Budget)}
        return {
            "name": self.name,
            "network": self.network,
            "weights": self.weights,
            "data": self.data,
            "input": list(self.input),
            "machine": self.machine,
            "threads": self.threads,
            "seed": self.seed,
            "budget": {key: each for key, each in limits.items() if each is not None},
            "stages": {name: dict(table) for name, table in self.stages.items()},
        }


def load_plan(path: Path, overrides: Mapping[str, object], known: set[str]) -> Plan:
    """Return the plan in a run file.

    Args:
        path: of the TOML file.
        overrides: keys that beat the file; None leaves the file's.
        known: names of stages.

    Raises:
        PlanError: the file is absent, no TOML, or has a wrong key or value.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise PlanError(
                f"run file of {path.stat().st_size} bytes",
                rule=f"at most {_MAX_BYTES} are read",
                where=str(path),
                remedy="give a run file",
            )
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise PlanError(
            f"run file {str(path)!r}",
            rule=str(reason),
            remedy="give the path of a TOML file, such as examples/digits.toml",
        ) from error
    try:
        record = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(
            "run file",
            rule=f"it is no TOML: {error}",
            where=str(path),
            remedy="correct the line",
        ) from error
    record.update({key: each for key, each in overrides.items() if each is not None})
    return parse_plan(record, known, folder=path.parent, where=str(path))


def parse_plan(
    record: Mapping[str, Any], known: set[str], *, folder: Path, where: str
) -> Plan:
    """Return the plan in a record, as TOML gives it.

    Args:
        record: keys and tables of the run file.
        known: names of stages.
        folder: for relative paths.
        where: for messages.

    Raises:
        PlanError: a key is unknown or a value wrong; the message names it.
    """
    for key, value in record.items():
        if (key in known or key == "budget") and not isinstance(value, Mapping):
            raise PlanError(
                f"{key} = {value!r}"[:200],
                rule=f"[{key}] is a table",
                where=where,
                remedy=f"write [{key}] on a line of its own, its keys below",
            )
    tables = {key: value for key, value in record.items() if key in known}
    rest = {key: value for key, value in record.items() if key not in tables}
    table = validated(
        _ADAPTER, rest, where, extra_keys=[f"[{name}]" for name in sorted(known)]
    )
    limits = {
        each.name: getattr(table.budget, each.name) for each in fields(_BudgetTable)
    }
    return Plan(
        name=table.name,
        network=table.network,
        weights=table.weights,
        data=table.data,
        input=tuple(table.input),
        machine=table.machine,
        threads=table.threads,
        seed=table.seed,
        output=Path(table.output),
        budget=Budget(**limits),
        stages=tables,
        folder=folder,
        where=where,
    )


def validated(
    adapter: TypeAdapter[Any],
    record: Mapping[str, Any],
    where: str,
    *,
    table: str = "",
    extra_keys: list[str] | None = None,
) -> Any:
    """Return what the adapter makes of a table of the run file.

    Args:
        adapter: of a dataclass that forbids unknown keys.
        record: the table.
        where: the file, for messages.
        table: name of the table, "" for the top.
        extra_keys: what else may stand there, for messages.

    Raises:
        PlanError: all that is wrong, each with the dotted path of its key.
    """
    try:
        return adapter.validate_python(dict(record))
    except ValidationError as error:
        problems = []
        for each in error.errors():
            path = ".".join([*([table] if table else []), *map(str, each["loc"])])
            message = each["msg"].removeprefix("Value error, ")
            if each["type"] == "unexpected_keyword_argument":
                message = "no such key"
            problems.append(f"{path}: {message[:1].lower()}{message[1:]}")
        schema = adapter.json_schema(mode="validation")
        allowed = [*schema.get("properties", {}), *(extra_keys or [])]
        if not table and {each["loc"][0] for each in error.errors()} == {"budget"}:
            allowed = [each.name for each in fields(_BudgetTable)]
        raise PlanError(
            f"table [{table}]" if table else "run file",
            rule="; ".join(dict.fromkeys(problems)),
            where=where,
            remedy=f"the keys are {', '.join(allowed) or '(none)'}",
        ) from error
