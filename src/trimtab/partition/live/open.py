"""From a bundle to either side of its network."""

from __future__ import annotations

from pathlib import Path

from trimtab.bundle.store import read
from trimtab.errors import BundleError
from trimtab.partition.agreed import FILE, Agreed, loads
from trimtab.partition.conditions import Conditions, Limits
from trimtab.partition.controller import Controller, Settings
from trimtab.partition.live.edge import Address, Edge, Patience
from trimtab.partition.live.halves import Halves
from trimtab.partition.space import Space

__all__ = ["open_edge", "open_halves"]


def open_halves(path: Path) -> tuple[Halves, Agreed]:
    """Return the network of a bundle, and its division.

    Raises:
        BundleError: there is no bundle, it is damaged, or it has no division.
    """
    bundle = read(path)
    if FILE not in bundle.manifest.files:
        raise BundleError(
            f"bundle {str(path)!r}",
            rule="it has no division between edge and cloud",
            where=FILE,
            remedy="add a table [partition] to its run file, and run it again",
        )
    agreed = loads((bundle.path / FILE).read_bytes(), bundle.graph, str(path))
    positions = [cut.position for cut in agreed.cuts]
    return Halves(bundle.graph, bundle.weights(), positions, agreed.codecs), agreed


def open_edge(
    path: Path,
    *,
    cloud: Address | None = None,
    settings: Settings | None = None,
    patience: Patience | None = None,
    edge_bytes: int | None = None,
) -> Edge:
    """Return the edge's side of a bundle, not started yet.

    Args:
        path: of the bundle.
        cloud: where its other side is; None for none.
        settings: of the controller; by default with the objective of the bundle.
        patience: how long it waits for what.
        edge_bytes: for weights and activations here.

    Raises:
        BundleError: as of `open_halves`.
        BudgetInfeasibleError: no cut keeps to the limits.
    """
    halves, agreed = open_halves(path)
    space = Space(
        halves.graph,
        agreed.edge,
        agreed.cloud,
        codecs=agreed.codecs,
        limits=Limits(
            private_layers=agreed.private_layers,
            most_bytes=agreed.most_bytes,
            edge_bytes=edge_bytes,
            accuracy_loss_frac=agreed.accuracy_loss_frac,
        ),
        quality=agreed.quality,
    )
    first = Conditions(uplink_bytes_per_s=agreed.uplink_bytes_per_s, rtt_s=agreed.rtt_s)
    controller = Controller(
        space, first, settings or Settings(objective=agreed.objective)
    )
    return Edge(
        halves, controller, cloud=cloud, patience=patience,
        whole=agreed.whole and bool(space.local.any()),
    )  # fmt: skip
