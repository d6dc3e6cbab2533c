"""From a specification to the times of a network on a machine."""

from __future__ import annotations

from pathlib import Path

from trimtab.cost.latency import Corrected, LatencyModel, Roofline
from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS, machine, machine_names
from trimtab.hardware.machine import Machine
from trimtab.partition.profiles import Profile, named
from trimtab.pipeline.observed import Correction

__all__ = ["profile_of"]


def profile_of(
    spec: str,
    graph: Graph,
    *,
    threads: int = 1,
    carried: str | None = None,
    seen: Correction | None = None,
) -> tuple[Profile, Machine]:
    """Return the profile of a network, and the machine it is of.

    Args:
        spec: a machine of the catalogue, ``this`` or a TOML file, of which the model is
            asked; the JSON of `trimtab profile`; or a folder of these, one a network.
        graph: the network.
        threads: that one call may use, where the model is asked.
        carried: profile of this machine that others are scaled from.
        seen: what was observed of the network, by which the model is corrected on the
            host that it was observed on.

    Returns:
        The profile; and its machine, or this one where the catalogue has none of the
        title in the file.

    Raises:
        DataError: a file that is no profile, or a folder without one of this network.
        TrimtabError: what finding a machine raises.
    """
    model: LatencyModel = Roofline()
    # What is carried over is a ratio of two machines: errors of the model cancel in it.
    if seen is not None and carried is None:
        model = Corrected(model, seen.factor, seen.host)
    found = named(spec, graph, model, threads=threads, carried=carried)
    if spec.endswith(".json") or Path(spec).is_dir():
        return found, _titled(found.machine)
    return found, machine(spec)


def _titled(title: str) -> Machine:
    for name in machine_names():
        if machine(name).title == title:
            return machine(name)
    return machine(THIS)
