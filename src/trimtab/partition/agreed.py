"""What a bundle keeps of its division: cuts, codecs, profiles, and that they are exact.

Both sides read it from the same bundle; a cut is never worked out anew, since another
version of PyTorch may capture another graph.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import torch
from pydantic import ConfigDict, TypeAdapter, with_config
from torch import Tensor

from trimtab import files
from trimtab.errors import BundleError, ExecutionError
from trimtab.graph.execute import Executor
from trimtab.graph.store import digest
from trimtab.graph.types import Graph, Ref
from trimtab.partition.conditions import Objective
from trimtab.partition.cuts import cut_at
from trimtab.partition.profiles import Profile
from trimtab.partition.quality import Quality
from trimtab.zoo.inputs import example_values

__all__ = ["FILE", "Agreed", "Cut", "check_exact", "dumps", "loads"]

FILE: Final = "partition.json"
FORMAT: Final = 1


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A cut as it is stored.

    Attributes:
        position: nodes before it run on the edge.
        digest: of graph and position.
        after: the node it comes after, for people.
        size_bytes: that cross.
    """

    position: int
    digest: str
    after: str
    size_bytes: int


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A division that both sides work by.

    Attributes:
        format: of the file.
        graph: digest of the network.
        cuts: in the order of their numbers.
        codecs: in the order of their numbers.
        edge: times on the edge it was planned for.
        cloud: times in the cloud.
        private_layers: that must run on the edge.
        most_bytes: of a request, or None.
        whole: whether the edge may run all of the network.
        uplink_bytes_per_s: it was planned for.
        rtt_s: it was planned for.
        objective: it was planned for.
        accuracy_loss_frac: that a codec may cost.
        quality: what codecs do at the cuts, where it was measured.
    """

    format: int
    graph: str
    cuts: tuple[Cut, ...]
    codecs: tuple[str, ...]
    edge: Profile
    cloud: Profile
    private_layers: int
    most_bytes: int | None
    whole: bool
    uplink_bytes_per_s: float
    rtt_s: float
    objective: Objective
    accuracy_loss_frac: float
    quality: tuple[Quality, ...]


_ADAPTER: Final[TypeAdapter[Agreed]] = TypeAdapter(Agreed)


def dumps(agreed: Agreed) -> bytes:
    """Return it as JSON."""
    return (json.dumps(asdict(agreed)) + "\n").encode()


def loads(content: bytes, graph: Graph, where: str) -> Agreed:
    """Return the division in a file of a bundle.

    Args:
        content: of the file.
        graph: of the bundle.
        where: for messages.

    Raises:
        BundleError: it is none, or of another graph.
    """
    found = files.parse(_ADAPTER, content, functools.partial(_wrong, where))
    if found.format != FORMAT:
        raise _wrong(where, f"its format is {found.format}, this reads {FORMAT}")
    if found.graph != digest(graph):
        raise _wrong(where, "it is of another graph than the bundle's")
    for cut in found.cuts:
        inside = 0 <= cut.position < len(graph.nodes)
        if not inside or cut_at(graph, cut.position).digest != cut.digest:
            raise _wrong(where, f"the graph has no cut {cut.digest[:12]}")
    if not found.cuts or not found.codecs:
        raise _wrong(where, "it has no cut or no codec")
    return found


def _wrong(where: str, rule: str) -> BundleError:
    return BundleError(
        "the division of a bundle",
        rule=rule,
        where=where,
        remedy="make the bundle again with a stage [partition]",
    )


def check_exact(
    graph: Graph, weights: Mapping[str, Tensor], positions: list[int]
) -> int:
    """Run the network whole and divided at every cut; return how many were compared.

    Args:
        graph: the network.
        weights: by target.
        positions: of the cuts.

    Raises:
        ExecutionError: results differ in a bit.
    """
    run = Executor(graph, weights)
    values: dict[Ref, Any] = {
        Ref(name): each for name, each in example_values(graph).items()
    }
    whole = run.run(values)
    for position in positions:
        crossing = {
            ref: value.clone() if isinstance(value, Tensor) else value
            for ref, value in run.run(values, 0, position).items()
        }
        joined = run.run(crossing, position)
        for ref, value in whole.items():
            if not torch.equal(joined[ref], value):
                raise ExecutionError(
                    f"graph {graph.name!r} cut at node {position}",
                    rule=f"result {ref} differs from that of the uncut graph",
                    where="stage [partition]",
                    remedy="report it: a graph cut and joined must be the same",
                )
    return len(positions)
