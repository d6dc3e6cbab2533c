"""A small network that is divided, and both of its ends in one process."""

import asyncio
import contextlib
import threading
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from trimtab.graph.capture import capture, weights_of
from trimtab.graph.store import digest
from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Controller, Settings
from trimtab.partition.live.cloud import Cloud
from trimtab.partition.live.halves import Halves
from trimtab.partition.profiles import Profile
from trimtab.partition.space import Space

CODECS = ("raw", "int8")


class Net(nn.Module):
    """Two values cross where a shortcut is open."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4 * 64, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x + torch.relu(self.second(x))
        return self.last(nn.functional.max_pool2d(x, 2).flatten(1))


def made(codecs=CODECS, *, first=None):
    """Return a network and its halves; with a first part, the rest is loaded later."""
    net = Net().eval()
    graph = capture(net, (torch.zeros(1, 3, 16, 16),), name="net")
    positions = list(range(len(graph.nodes)))
    weights: Any = weights_of(net, graph)
    if first is not None:
        weights = Disk(weights)
    return net, Halves(graph, weights, positions, codecs, first=first)


class Disk:
    """Weights, and what of them was asked for."""

    def __init__(self, weights):
        self.weights, self.asked = weights, []

    def __call__(self, names):
        self.asked.append(set(names))
        return {name: self.weights[name].clone() for name in names}


def profile(graph, each):
    count = len(graph.nodes)
    return Profile(
        format=1, machine="made up", source="measured", graph=digest(graph), threads=1,
        nodes=tuple(node.name for node in graph.nodes), p50_s=(each,) * count,
        p90_s=(each,) * count, encode_s={"raw": 0.0, "int8": 0.0},
        decode_s={"raw": 0.0, "int8": 0.0},
    )  # fmt: skip


def controller(halves, *, edge=0.5, cloud=1e-5, codecs=("raw",), **settings):
    """One that prefers the cloud, unless the edge is told to be fast."""
    graph = halves.graph
    space = Space(graph, profile(graph, edge), profile(graph, cloud), codecs=codecs)
    made = Controller(
        space, Conditions(uplink_bytes_per_s=1e8, rtt_s=1e-4), Settings(**settings)
    )
    # Its profile of the edge is made up, and far too slow: it is not to learn that.
    see: Any = made.see
    made.see = lambda decision, seen, **more: see(  # type: ignore[method-assign]
        decision, replace(seen, edge_s=None), **more
    )
    return made


class Served:
    """A cloud in a thread of its own."""

    def __init__(self, halves, **settings):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.cloud = Cloud(halves, **settings)
        self.port = asyncio.run_coroutine_threadsafe(
            self.cloud.start(), self.loop
        ).result(5)

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.cloud.stop(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


@contextlib.contextmanager
def served(halves, **settings):
    found = Served(halves, **settings)
    try:
        yield found
    finally:
        found.stop()
