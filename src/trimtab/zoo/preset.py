"""The sizes of the recommendation networks: presets as TOML, strictly read; no torch.

Every network has three presets. ``paper`` has the layers that DeepRecSys prints,
``reference`` those of its authors' code, ``small`` the reference's layers over tables
of about 256 MB, for machines of two cores. The files state beside each number where it
comes from.

References:
    Gupta et al., DeepRecSys: A System for Optimizing End-To-End At-scale Neural
    Recommendation Inference, ISCA 2020 (arXiv 2001.02772).
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import tomllib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trimtab.errors import UsageError

__all__ = [
    "PRESETS",
    "AbstractSizes",
    "DienSizes",
    "DinSizes",
    "DlrmSizes",
    "Input",
    "NcfSizes",
    "TableGroup",
    "WideDeepSizes",
    "parse_sizes",
    "sizes",
]

PRESETS: Final = ("paper", "reference", "small")
"""The names of the presets; the first is the default."""

_CLOSED = ConfigDict(extra="forbid")
_FLOAT_BYTES: Final = 4

# Products of two ids have to stay below 2**63.
Count: TypeAlias = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
Widths: TypeAlias = tuple[Count, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One tensor that a network takes, batch on axis 0.

    Attributes:
        name: of the argument.
        shape: without the batch.
        rows: what ids stay below, one bound for each entry of the first axis or one
            for all; empty for float32 features.
        padded: id 0 stands for "nothing here".
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[int, ...] = ()
    padded: bool = False

    @property
    def dtype(self) -> str:
        """Its type: ``int64`` for ids, ``float32`` for features."""
        return "int64" if self.rows else "float32"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TableGroup:
    """Tables of one size.

    Attributes:
        count: how many.
        rows: of each.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    count: Count
    rows: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractSizes(ABC):
    """What every recommendation network has: tables of one width.

    Attributes:
        dim: numbers a row.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    dim: Count

    @property
    @abstractmethod
    def rows(self) -> tuple[int, ...]:
        """Rows of every table of width `dim`, in order."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Input, ...]:
        """What the network takes, in order."""

    @property
    def table_shapes(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of the stacked tables, by name."""
        return {"tables": (sum(self.rows), self.dim)}

    @property
    def table_bytes(self) -> int:
        """Memory of the tables as float32."""
        return sum(r * c for r, c in self.table_shapes.values()) * _FLOAT_BYTES


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NcfSizes(AbstractSizes):
    """Neural collaborative filtering.

    Attributes:
        users: rows of each of the two tables of users.
        items: rows of each of the two tables of items.
        mlp: widths of the layers over user and item.
    """

    users: Count
    items: Count
    mlp: Annotated[Widths, Field(min_length=1)]

    @property
    def rows(self) -> tuple[int, ...]:
        """Users and items of the product, then users and items of the layers."""
        return (self.users, self.items) * 2

    @property
    def inputs(self) -> tuple[Input, ...]:
        """One user and one item."""
        return (Input(name="ids", shape=(2, 1), rows=self.rows[:2]),)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WideDeepSizes(AbstractSizes):
    """Wide & Deep for one or several tasks.

    Attributes:
        dense: features that are numbers.
        tables: one id each.
        cross_rows: of the wide part: places that pairs of the first two ids share.
        deep: widths of the layers that all tasks share.
        tasks: how many scores.
        tower: widths of the layers that each task has of its own.
    """

    dense: Count
    tables: Annotated[tuple[TableGroup, ...], Field(min_length=1)]
    cross_rows: Count
    deep: Widths
    tasks: Count
    tower: Widths

    @property
    def rows(self) -> tuple[int, ...]:
        """As the groups say."""
        return _rows(self.tables)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Features and one id a table."""
        return (
            Input(name="dense", shape=(self.dense,)),
            Input(name="ids", shape=(len(self.rows), 1), rows=self.rows),
        )

    @property
    def table_shapes(self) -> dict[str, tuple[int, int]]:
        """The tables of the deep part, and one weight a task for each pair."""
        deep = {"tables": (sum(self.rows), self.dim)}
        return {**deep, "wide": (self.cross_rows, self.tasks)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DlrmSizes(AbstractSizes):
    """DLRM.

    Attributes:
        dense: features that are numbers.
        bottom: widths of the layers over them.
        tables: of which some rows each are added up.
        lookups: rows a table.
        interaction: products of all pairs, or all side by side.
        top: widths of the layers behind, the last is the score.
    """

    dense: Count
    bottom: Annotated[Widths, Field(min_length=1)]
    tables: Annotated[tuple[TableGroup, ...], Field(min_length=1)]
    lookups: Count
    interaction: Literal["dot", "cat"]
    top: Annotated[Widths, Field(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse products of vectors that differ in length."""
        if self.interaction == "dot" and self.bottom[-1] != self.dim:
            raise UsageError(
                f"bottom layers that end in {self.bottom[-1]}",
                rule=f"products need vectors of one length, and tables have {self.dim}",
                remedy="make both equal, or set the interaction to cat",
            )

    @property
    def rows(self) -> tuple[int, ...]:
        """As the groups say."""
        return _rows(self.tables)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Features, and `lookups` ids a table."""
        return (
            Input(name="dense", shape=(self.dense,)),
            Input(name="ids", shape=(len(self.rows), self.lookups), rows=self.rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _AbstractInterest(AbstractSizes):
    """A network that looks at what a user did before.

    Attributes:
        items: rows of the table of items: the one in question and those of the history.
        profile: tables of user and context, one id each.
        history: items a user, padded at the end with 0.
        top: widths of the layers behind, the last is the number of classes.
    """

    items: Count
    profile: tuple[TableGroup, ...]
    history: Count
    top: Annotated[Widths, Field(min_length=1)]

    @property
    def rows(self) -> tuple[int, ...]:
        """Items, then user and context."""
        return (self.items, *_rows(self.profile))

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The item in question with user and context, and the history."""
        return (
            Input(name="ids", shape=(len(self.rows), 1), rows=self.rows),
            Input(
                name="history", shape=(self.history,), rows=(self.items,), padded=True
            ),
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DinSizes(_AbstractInterest):
    """Deep interest network.

    Attributes:
        attention: widths of the hidden layers of the activation unit.
    """

    attention: Widths


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DienSizes(_AbstractInterest):
    """Deep interest evolution network.

    Attributes:
        hidden: units of both recurrent layers.
    """

    hidden: Count


_KINDS: Final[dict[str, type[AbstractSizes]]] = {
    "dien": DienSizes,
    "din": DinSizes,
    "mtwnd": WideDeepSizes,
    "ncf": NcfSizes,
    "rmc1": DlrmSizes,
    "rmc2": DlrmSizes,
    "rmc3": DlrmSizes,
    "wnd": WideDeepSizes,
}


def _rows(groups: tuple[TableGroup, ...]) -> tuple[int, ...]:
    return tuple(chain.from_iterable(repeat(each.rows, each.count) for each in groups))


@functools.cache
def sizes(model: str, preset: str) -> AbstractSizes:
    """Return the sizes of a network.

    Args:
        model: such as ``rmc1``.
        preset: one of `PRESETS`.

    Raises:
        UsageError: no such network or preset.

    Example:
        >>> sizes("rmc1", "reference").table_bytes
        4096000000
    """
    for what, name, known in (
        ("recommendation network", model, tuple(_KINDS)),
        (f"preset of {model}", preset, PRESETS),
    ):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? Otherwise use" if near else "use"
            raise UsageError(
                f"{what} {name!r}",
                rule="there is none of that name",
                where="trimtab.zoo.preset",
                remedy=f"{hint} one of {', '.join(known)}",
            )
    folder = importlib.resources.files("trimtab.zoo") / "presets"
    text = (folder / f"{model}.toml").read_text("utf-8")
    return parse_sizes(model, text, where=f"zoo/presets/{model}.toml")[preset]


def parse_sizes(model: str, text: str, *, where: str) -> dict[str, AbstractSizes]:
    """Return the sizes that a file holds, by preset.

    Args:
        model: decides which keys there are.
        text: the file.
        where: it stands, for messages.

    Raises:
        UsageError: no TOML, an unknown or missing key, a size below one; all problems
            at once, each with its place.
    """
    kind = _KINDS[model]
    try:
        found = TypeAdapter(dict[str, kind]).validate_python(tomllib.loads(text))  # type: ignore[valid-type]
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        problems = [str(error)]
        if isinstance(error, ValidationError):
            problems = [
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
                for each in error.errors()
            ]
        raise UsageError(
            f"presets of {model}",
            rule="; ".join(problems),
            where=where,
            remedy="correct the file",
        ) from error
    return dict(found)
