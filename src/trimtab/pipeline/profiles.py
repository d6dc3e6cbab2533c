"""From a specification to the times of a network on a machine."""

from __future__ import annotations

from pathlib import Path

from trimtab.cost.latency import Roofline
from trimtab.errors import DataError
from trimtab.graph.store import digest
from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS, machine, machine_names
from trimtab.hardware.machine import Machine
from trimtab.partition.profiles import Profile, estimated, read

__all__ = ["profile_of"]


def profile_of(spec: str, graph: Graph, *, threads: int = 1) -> tuple[Profile, Machine]:
    """Return the profile of a network, and the machine it is of.

    Args:
        spec: a machine of the catalogue, ``this`` or a TOML file, of which the model is
            asked; the JSON of `trimtab profile`; or a folder of these, one a network.
        graph: the network.
        threads: that one call may use, where the model is asked.

    Returns:
        The profile; and its machine, or this one where the catalogue has none of the
        title in the file.

    Raises:
        DataError: a file that is no profile, or a folder without one of this network.
        TrimtabError: what finding a machine raises.
    """
    path = Path(spec)
    if not spec.endswith(".json") and not path.is_dir():
        like = machine(spec)
        return estimated(graph, like, Roofline(), threads=threads), like
    found = _among(path, graph) if path.is_dir() else read(path)
    return found, _titled(found.machine)


def _among(folder: Path, graph: Graph) -> Profile:
    for each in sorted(folder.glob("*.json")):
        found = read(each)
        if found.graph == digest(graph):
            return found
    raise DataError(
        f"profiles in {str(folder)!r}",
        rule=f"none is of network {graph.name!r}",
        where="trimtab partition",
        remedy=f"make it with: trimtab profile NET -o {folder}/{graph.name}.json",
    )


def _titled(title: str) -> Machine:
    for name in machine_names():
        if machine(name).title == title:
            return machine(name)
    return machine(THIS)
