"""How long each node takes, from a model of a machine or from a measurement."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, with_config
from torch import Tensor

from trimtab import files
from trimtab.cost.latency import LatencyModel, efficiency_class
from trimtab.errors import DataError, MissingExtraError
from trimtab.graph.execute import Executor
from trimtab.graph.store import digest
from trimtab.graph.types import Graph, Ref, TensorType
from trimtab.hardware import measure
from trimtab.hardware.load import machine
from trimtab.hardware.machine import Machine
from trimtab.partition.codec import CODECS, CYCLES, codec
from trimtab.zoo.inputs import example_values

__all__ = [
    "Profile",
    "estimated",
    "measured",
    "named",
    "read",
    "require_of",
    "scaled",
    "write",
]

FORMAT: Final = 1
_MOST_BYTES: Final = 64 * 2**20
_NUMBERS: Final = 200_000  # that codecs are timed on

Floats = NDArray[np.float64]


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds of each node of a graph on one machine.

    Attributes:
        format: of the file.
        machine: for people.
        source: how it came about: ``measured``, ``estimated`` or ``scaled``.
        graph: digest of the graph it is of.
        threads: that one call had.
        nodes: names, in the order of the graph.
        p50_s: median time of each.
        p90_s: time that nine calls in ten stay below, of each.
        encode_s: of a million numbers, by name of a codec.
        decode_s: the same.
    """

    format: int
    machine: str
    source: str
    graph: str
    threads: int
    nodes: tuple[str, ...]
    p50_s: tuple[float, ...]
    p90_s: tuple[float, ...]
    encode_s: dict[str, float]
    decode_s: dict[str, float]

    @property
    def seconds(self) -> Floats:
        """Median time of each node."""
        return np.array(self.p50_s)

    @property
    def spread(self) -> float:
        """Time of a slow call over that of a usual one: 0.9 quantile over median."""
        usual = math.fsum(self.p50_s)
        return math.fsum(self.p90_s) / usual if usual else 1.0


_ADAPTER: Final[TypeAdapter[Profile]] = TypeAdapter(Profile)


def estimated(
    graph: Graph, of: Machine, latency: LatencyModel, *, threads: int = 1
) -> Profile:
    """Return what a model of latency says of a machine.

    Args:
        graph: the network.
        of: the machine: of the catalogue, a file, or this one.
        latency: the model.
        threads: that one call may use.

    Example:
        >>> import torch
        >>> from trimtab.cost.latency import Roofline
        >>> from trimtab.graph.capture import capture
        >>> from trimtab.hardware.load import machine
        >>> graph = capture(torch.nn.Linear(8, 2).eval(), (torch.zeros(1, 8),))
        >>> profile = estimated(graph, machine("raspberry-pi-4"), Roofline())
        >>> profile.source, len(profile.p50_s)
        ('estimated', 1)
    """
    found = latency.estimate(graph, of, threads)
    clock = of.core.frequency_hz
    times = tuple(each.estimate.latency_s for each in found.nodes)
    return Profile(
        format=FORMAT,
        machine=of.title,
        source="estimated",
        graph=digest(graph),
        threads=threads,
        nodes=tuple(each.name for each in graph.nodes),
        p50_s=times,
        p90_s=times,
        encode_s={name: 1e6 * each[0] / clock for name, each in CYCLES.items()},
        decode_s={name: 1e6 * each[1] / clock for name, each in CYCLES.items()},
    )


def measured(
    graph: Graph,
    weights: Mapping[str, Tensor],
    title: str,
    *,
    threads: int = 1,
    calls: int = 15,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> Profile:
    """Return times of this machine, nodes and codecs.

    Node times are brought to the time of a whole call, which has no clock between them.

    Args:
        graph: the network.
        weights: of it, by target.
        title: what this machine is called.
        threads: one is timed by its own CPU time, several by the wall.
        calls: to time.
        progress: told the share that is done.
    """
    inputs = {Ref(name): each for name, each in example_values(graph).items()}
    found = measure.profile(
        Executor(graph, weights), inputs, threads=threads, calls=calls,
        progress=lambda done, text: progress(0.9 * done, text),
    )  # fmt: skip
    share = found.latency_s / max(math.fsum(found.nodes_s.values()), 1e-12)
    names = tuple(each.name for each in graph.nodes)
    drawn = torch.Generator().manual_seed(0)
    value = torch.randn(_NUMBERS, generator=drawn).relu_()
    kind = TensorType((_NUMBERS,), "float32")
    encode: dict[str, float] = {}
    decode: dict[str, float] = {}
    for name in CODECS:
        progress(0.95, f"codec {name}")
        some = codec(name)
        try:
            sent = some.encode(value)
        except MissingExtraError:  # a board without it sends nothing so compressed
            continue
        for times, call in (
            (encode, lambda some=some: some.encode(value)),
            (decode, lambda some=some, sent=sent: some.decode(sent, kind)),
        ):
            taken = measure.thread_times_s(call, calls=calls)
            times[name] = statistics.median(taken) * 1e6 / _NUMBERS
    return Profile(
        format=FORMAT,
        machine=title,
        source="measured",
        graph=digest(graph),
        threads=threads,
        nodes=names,
        p50_s=tuple(share * found.nodes_s[name] for name in names),
        p90_s=tuple(share * found.slow_nodes_s[name] for name in names),
        encode_s=encode,
        decode_s=decode,
    )


def scaled(
    profile: Profile,
    graph: Graph,
    latency: LatencyModel,
    source: Machine,
    target: Machine,
) -> Profile:
    """Return a measurement carried over to a machine that is not here.

    Each node is scaled by how the model compares both machines over all nodes of its
    class (dense, convolution, depthwise, pool, norm, vector): errors of the model that
    both share drop out.

    Args:
        profile: measured on `source`.
        graph: the network.
        latency: the model.
        source: the machine it was measured on.
        target: the machine in question.

    Raises:
        DataError: the profile is of another graph.
    """
    require_of(profile, graph, "scale")
    threads = profile.threads
    here = latency.estimate(graph, source, threads).nodes
    there = latency.estimate(graph, target, threads).nodes
    classes = [efficiency_class(graph, node) for node in graph.nodes]
    ratios: dict[str, float] = {}
    for name in set(classes):
        mine = [at for at, each in enumerate(classes) if each == name]
        before = math.fsum(here[at].estimate.latency_s for at in mine)
        after = math.fsum(there[at].estimate.latency_s for at in mine)
        ratios[name] = after / before if before else 1.0

    def carried(times: Sequence[float]) -> tuple[float, ...]:
        return tuple(
            time * ratios[each] for time, each in zip(times, classes, strict=True)
        )

    vector = ratios.get("vector", 1.0)
    return Profile(
        format=FORMAT,
        machine=target.title,
        source="scaled",
        graph=profile.graph,
        threads=threads,
        nodes=profile.nodes,
        p50_s=carried(profile.p50_s),
        p90_s=carried(profile.p90_s),
        encode_s={name: each * vector for name, each in profile.encode_s.items()},
        decode_s={name: each * vector for name, each in profile.decode_s.items()},
    )


def named(
    spec: str,
    graph: Graph,
    latency: LatencyModel,
    *,
    threads: int = 1,
    carried: str | None = None,
    folder: Path | None = None,
) -> Profile:
    """Return the profile in a file, or what is known of a machine.

    Args:
        spec: a file that ends in ``.json``, a folder of these, one a network, or a
            machine.
        graph: the network.
        latency: the model.
        threads: that one call may use.
        carried: file of a profile that was measured on this machine: others are scaled
            from it, so that only what differs is left to the model.
        folder: where files are looked for that are not here.

    Raises:
        DataError: a file that is no profile, of another graph, or, to be carried over,
            of another machine than this one.
        MachineNotFoundError: no machine of that name.
    """

    def find(name: str) -> Path:
        path = Path(name)
        return path if folder is None or path.exists() else folder / name

    if spec.endswith(".json"):
        return read(find(spec))
    if find(spec).is_dir():
        return _among(find(spec), graph)
    target = machine(spec)
    if carried is None:
        return estimated(graph, target, latency, threads=threads)
    found, here = read(find(carried)), machine("this")
    if found.machine != here.title:
        raise DataError(
            f"profile {carried!r} of {found.machine!r}",
            rule=f"what is carried over is measured here, on {here.title!r}",
            where="trimtab.partition",
            remedy="measure it here: trimtab profile NET -o FILE.json",
        )
    if target.title == here.title:
        require_of(found, graph, carried)
        return found
    return scaled(found, graph, latency, here, target)


def _among(folder: Path, graph: Graph) -> Profile:
    for each in map(read, sorted(folder.glob("*.json"))):
        if each.graph == digest(graph):
            return each
    raise DataError(
        f"profiles in {str(folder)!r}",
        rule=f"none is of network {graph.name!r}",
        where="trimtab partition",
        remedy=f"make it with: trimtab profile NET -o {folder}/{graph.name}.json",
    )


def require_of(profile: Profile, graph: Graph, where: str) -> None:
    """Refuse a profile of another graph.

    Raises:
        DataError: it is.
    """
    names = tuple(each.name for each in graph.nodes)
    if profile.graph == digest(graph) and profile.nodes == names:
        return
    raise DataError(
        f"profile of graph {profile.graph[:12]} on {profile.machine!r}",
        rule=f"the network is graph {digest(graph)[:12]}",
        where=where,
        remedy="profile this network, with the same input shape: trimtab profile NET",
    )


def write(profile: Profile, path: Path) -> None:
    """Write a profile as JSON, whole or not at all.

    Raises:
        UsageError: the folder does not exist.
    """
    files.write(asdict(profile), path, "profile")


def read(path: Path) -> Profile:
    """Return the profile in a file.

    Raises:
        DataError: it is absent or no profile; each problem is named.
    """
    wrong = functools.partial(_no_profile, path)
    found = files.read(_ADAPTER, path, wrong, most_bytes=_MOST_BYTES)
    count = len(found.nodes)
    times = (
        *found.p50_s,
        *found.p90_s,
        *found.encode_s.values(),
        *found.decode_s.values(),
    )
    if found.format != FORMAT:
        raise wrong(f"its format is {found.format}, this reads {FORMAT}")
    if not len(found.p50_s) == len(found.p90_s) == count:
        raise wrong("there is not one time for each node")
    if not all(math.isfinite(each) and each >= 0 for each in times):
        raise wrong("a time is negative or not finite")
    return found


def _no_profile(path: Path, rule: str) -> DataError:
    return DataError(
        f"profile {str(path)!r}",
        rule=rule,
        where="trimtab.partition",
        remedy="make it with: trimtab profile NET -o FILE.json",
    )
