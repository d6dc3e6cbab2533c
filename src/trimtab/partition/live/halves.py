"""One network that both sides have, and the cuts that they agreed on.

All cuts share one set of weights, so that another cut with the next request costs
nothing: the number of the cut travels with it. Where memory forbids that, a side keeps
the layers of some cuts only (`trimtab.partition.live.keeping`).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from trimtab.errors import DataError, UsageError
from trimtab.graph.execute import Executor
from trimtab.graph.liveness import live_sets
from trimtab.graph.store import digest
from trimtab.graph.types import Graph, Ref, TensorType
from trimtab.hardware.detect import fingerprint
from trimtab.partition.codec import Codec, Encoded, codec, size_of
from trimtab.partition.cuts import Candidate, cut_at
from trimtab.partition.live.keeping import Keeping, Load, Runs
from trimtab.partition.live.segments import Make, Segmented
from trimtab.partition.live.wire import Head, Incoming, Part

__all__ = ["Halves", "Outgoing"]

_RAW = codec("raw")
_SLACK = 1.02  # of a compressed value that does not compress
_FRAME = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What crosses at a cut, as it is sent.

    Attributes:
        cut: its number.
        codec: number of the codec.
        parts: of each value.
        payloads: of each value.
    """

    cut: int
    codec: int
    parts: Sequence[Part]
    payloads: Sequence[bytes]


@final
class Halves:
    """A network that can be divided at any of some cuts.

    Args:
        graph: of the network.
        weights: by target, or what returns some of them.
        positions: of the cuts, in the order of their numbers.
        codecs: names, in the order of their numbers.
        first: nodes that are kept in memory at first; all by default.
        make: returns what computes a part between two cuts, such as machine code; they
            are run node by node by default.

    Attributes:
        keeping: the layers that are in memory.

    Raises:
        UsageError: no cut, or a position that the graph has not.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Tensor] | Load,
        positions: Sequence[int],
        codecs: Sequence[str] = ("raw",),
        *,
        first: range | None = None,
        make: Make | None = None,
    ) -> None:
        if not positions:
            raise UsageError(
                f"graph {graph.name!r} without cuts",
                rule="a network is divided at one at least",
                where="trimtab.partition",
                remedy="make the bundle with a stage [partition]",
            )
        self.graph = graph
        self.end = len(graph.nodes)
        load = weights if callable(weights) else _by_name(weights)
        first = range(self.end) if first is None else first
        self.keeping = Keeping(graph, load, first, _segmented(positions, make))
        self.cuts: tuple[Candidate, ...] = tuple(
            cut_at(graph, position) for position in positions
        )
        self.codecs: tuple[Codec, ...] = tuple(map(codec, codecs))
        self._types: list[list[TensorType]] = [
            [graph.type_of(ref) for ref in cut.values] for cut in self.cuts
        ]
        self.results: tuple[Ref, ...] = live_sets(graph)[-1]
        self._result_types = [graph.type_of(ref) for ref in self.results]
        # Once: whoever connects asks for it.
        self._identity: dict[str, Any] = {
            "graph": digest(graph),
            "cuts": [cut.digest for cut in self.cuts],
            "codecs": [each.name for each in self.codecs],
            "engine": f"torch {torch.__version__}, {platform.machine()}, "
            f"{fingerprint()}{'' if make is None else f', {make.identity}'}",
        }

    @property
    def run(self) -> Executor:
        """What runs the layers that are in memory now."""
        return self.keeping.run

    def identity(self) -> dict[str, Any]:
        """Return what both sides must have alike, and what may differ.

        ``graph``, ``cuts`` and ``codecs`` must be the same; with another ``engine``
        results may differ in the last bits.
        """
        return dict(self._identity)

    def agree(self, other: Mapping[str, Any]) -> bool:
        """Return whether engines are alike, too.

        Args:
            other: identity of the other side.

        Raises:
            DataError: it has another network, other cuts or codecs.
        """
        mine = self._identity
        for name in ("graph", "cuts", "codecs"):
            if other.get(name) != mine[name]:
                raise DataError(
                    f"a network of other {name}" if name != "graph" else
                    f"graph {str(other.get(name))[:12]}",
                    rule=f"this side has {_short(mine[name])}",
                    where="handshake",
                    remedy="start both sides with the same bundle",
                )  # fmt: skip
        return bool(other.get("engine") == mine["engine"])

    # Edge

    def head(
        self, values: Mapping[Ref, Any], cut: int, run: Executor | None = None
    ) -> dict[Ref, Any]:
        """Return what crosses at a cut.

        Args:
            values: of the inputs.
            cut: its number.
            run: what runs it; by default the layers that are in memory now.
        """
        return (run or self.run).run(values, 0, self.cuts[cut].position)

    def tail(
        self, values: Mapping[Ref, Any], cut: int, run: Executor | None = None
    ) -> dict[Ref, Any]:
        """Return the results from what crossed at a cut."""
        return (run or self.run).run(values, self.cuts[cut].position)

    def encode(self, values: Mapping[Ref, Any], cut: int, number: int) -> Outgoing:
        """Return what crosses at a cut as bytes.

        Args:
            values: that cross.
            cut: its number.
            number: of the codec.
        """
        parts, payloads = _encoded(
            [values[ref] for ref in self.cuts[cut].values], self.codecs[number]
        )
        return Outgoing(cut=cut, codec=number, parts=parts, payloads=payloads)

    def expect(self, head: Head) -> Incoming:
        """Return what takes the values of a request.

        Raises:
            DataError: there is no such cut or codec, or the values are not those of
                the cut.
        """
        if head.cut >= len(self.cuts):
            raise _unknown("cut", head.cut, len(self.cuts))
        if head.codec >= len(self.codecs):
            raise _unknown("codec", head.codec, len(self.codecs))
        return Incoming(head, [_most(kind) for kind in self._types[head.cut]])

    def expect_results(self, head: Head) -> Incoming:
        """Return what takes the values of a reply.

        Raises:
            DataError: the values are not the results of the network.
        """
        return Incoming(head, [_most(kind) for kind in self._result_types])

    def decode(self, incoming: Incoming) -> dict[Ref, Tensor]:
        """Return the values of a request.

        Raises:
            DataError: bytes that are no such values.
        """
        head = incoming.head
        return _decoded(
            incoming, self.codecs[head.codec], self.cuts[head.cut].values,
            self._types[head.cut],
        )  # fmt: skip

    def encode_results(
        self, values: Mapping[Ref, Any]
    ) -> tuple[list[Part], list[bytes]]:
        """Return the results as bytes, bit for bit."""
        return _encoded([values[ref] for ref in self.results], _RAW)

    def decode_results(self, incoming: Incoming) -> dict[Ref, Tensor]:
        """Return the results.

        Raises:
            DataError: bytes that are no such values.
        """
        return _decoded(incoming, _RAW, self.results, self._result_types)


def _segmented(positions: Sequence[int], make: Make | None) -> Runs | None:
    if make is None:
        return None

    def runs(graph: Graph, weights: Mapping[str, Tensor], part: range) -> Executor:
        return Segmented(graph, weights, positions, make, part=part)

    return runs


def _by_name(weights: Mapping[str, Tensor]) -> Load:
    """Return weights that are in memory as what returns some of them."""
    return lambda names: {name: weights[name] for name in names if name in weights}


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[:12]
    return f"{len(value)}: {', '.join(str(each)[:12] for each in value[:4])}"


def _unknown(what: str, number: int, count: int) -> DataError:
    return DataError(
        f"{what} {number}",
        rule=f"there are {count}",
        where="what came over the link",
        remedy="start both sides with the same bundle",
    )


def _most(kind: TensorType) -> int:
    """Return the bytes that a value may have in any codec."""
    return int(_SLACK * size_of("raw", kind)) + _FRAME


def _encoded(values: Sequence[Any], how: Codec) -> tuple[list[Part], list[bytes]]:
    parts, payloads = [], []
    for value in values:
        made = how.encode(value)
        parts.append(Part(made.form, made.low, made.step, len(made.payload)))
        payloads.append(made.payload)
    return parts, payloads


def _decoded(
    incoming: Incoming, how: Codec, refs: Sequence[Ref], kinds: Sequence[TensorType]
) -> dict[Ref, Tensor]:
    return {
        ref: how.decode(
            Encoded(form=part.form, low=part.low, step=part.step, payload=payload), kind
        )
        for ref, kind, part, payload in zip(
            refs, kinds, incoming.head.parts, incoming.payloads(), strict=True
        )
    }
