"""From a bundle to either side of its network."""

from __future__ import annotations

from pathlib import Path

from trimtab.bundle.store import Bundle, read
from trimtab.errors import BundleError, UsageError
from trimtab.partition.agreed import FILE, Agreed, loads
from trimtab.partition.conditions import Conditions, Limits
from trimtab.partition.controller import Controller, Settings
from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.keeping import Mode
from trimtab.partition.live.segments import Make
from trimtab.partition.profiles import Profile
from trimtab.partition.space import Space
from trimtab.units import format_bytes

__all__ = ["open_edge", "open_halves"]


def open_halves(
    path: Path, *, first: range | None = None, make: Make | None = None
) -> tuple[Halves, Agreed]:
    """Return the network of a bundle, and its division.

    Args:
        path: of the bundle.
        first: nodes whose weights are loaded at first; all by default.
        make: returns what computes a part between two cuts, see `Halves`.

    Raises:
        BundleError: there is no bundle, it is damaged, or it has no division.
    """
    bundle, agreed = _opened(path)
    load = bundle.weights if first is not None else bundle.weights()
    positions = [cut.position for cut in agreed.cuts]
    halves = Halves(
        bundle.graph, load, positions, agreed.codecs, first=first, make=make
    )
    return halves, agreed


def _opened(path: Path) -> tuple[Bundle, Agreed]:
    bundle = read(path)
    if FILE not in bundle.manifest.files:
        raise BundleError(
            f"bundle {str(path)!r}",
            rule="it has no division between edge and cloud",
            where=FILE,
            remedy="add a table [partition] to its run file, and run it again",
        )
    return bundle, loads(bundle.content(FILE), bundle.graph, str(path))


def open_edge(
    path: Path,
    *,
    cloud: Address | None = None,
    bytes_per_s: float | None = None,
    patience: Patience | None = None,
    edge_bytes: int | None = None,
    mode: Mode = "shared",
    profile: Profile | None = None,
    make: Make | None = None,
) -> Edge:
    """Return the edge's side of a bundle, not started yet.

    Args:
        path: of the bundle.
        cloud: where its other side is; None for none.
        bytes_per_s: that may be sent on average, probes included; None for no limit.
        patience: how long it waits for what.
        edge_bytes: for weights and activations here.
        mode: which layers are kept in memory.
        profile: times of this machine; by default those that the bundle was made with.
        make: returns what computes a part between two cuts, see `Halves`.

    Raises:
        BundleError: as of `open_halves`.
        DataError: a profile of another network.
        UsageError: a rate that is not above 0; parts that come and go with `make`.
        BudgetInfeasibleError: no cut keeps to the limits.
    """
    if make is not None and mode != "shared":
        raise UsageError(
            f"machine code with mode {mode!r}",
            rule="it is made once, of all layers that are ever needed here",
            where="trimtab edge",
            remedy="leave out --compile, or give --mode shared",
        )
    if make is not None and edge_bytes is not None:
        raise UsageError(
            f"machine code within {format_bytes(edge_bytes)}",
            rule="it packs weights anew, beside those that the limit is of",
            where="trimtab edge",
            remedy="leave out --compile, or --memory",
        )
    bundle, agreed = _opened(path)
    end = len(bundle.graph.nodes)
    space = Space(
        bundle.graph,
        profile or agreed.edge,
        agreed.cloud,
        codecs=agreed.codecs,
        limits=Limits(
            private_layers=agreed.private_layers,
            most_bytes=agreed.most_bytes,
            edge_bytes=edge_bytes,
            accuracy_loss_frac=agreed.accuracy_loss_frac,
        ),
        quality=agreed.quality,
        # What the bundle was made with, however this machine compares.
        positions=[cut.position for cut in agreed.cuts] + [end] * agreed.whole,
    )
    at = Conditions(uplink_bytes_per_s=agreed.uplink_bytes_per_s, rtt_s=agreed.rtt_s)
    settings = Settings(objective=agreed.objective, bytes_per_s=bytes_per_s)
    best = space.costs(at, settings.objective).argmin()
    stop = space.positions.max() if mode == "shared" else space.positions[best]
    first = None if stop == end else range(int(stop))
    halves, _ = open_halves(path, first=first, make=make)
    return Edge(
        halves, Controller(space, at, settings), cloud=cloud, patience=patience,
        whole=bool(space.local.any()), mode=mode,
    )  # fmt: skip
