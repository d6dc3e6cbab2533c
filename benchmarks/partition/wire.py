"""What the wire itself takes of a request, on loopback with mutual TLS.

    python -m benchmarks.partition.wire

The network does next to nothing: what is timed are encoding, frames, TLS, sockets and
the checks of either side.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from benchmarks.partition.bed import CloudProcess
from trimtab.graph.capture import capture, weights_of
from trimtab.partition.live.cloud import Cloud
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.link import Link
from trimtab.partition.live.pressure import CpuQuota, no_quota
from trimtab.partition.live.run import serve
from trimtab.runtime import certs

__all__ = ["BYTES", "main"]

BYTES: Final = 600_000
"""Of an activation."""

_WARM: Final = 30
_ASKED: Final = 400


class _Sum(nn.Module):
    """Sends its input, and gets a thousand numbers back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)[:, :1000]


def _halves() -> Halves:
    net = _Sum().eval()
    graph = capture(net, (torch.zeros(1, BYTES // 4),), name="wire")
    return Halves(graph, weights_of(net, graph), [0], ("raw",))


def _serve(folder: str) -> None:
    """Be the cloud, until it is told to end."""
    cloud = Cloud(_halves(), tls=certs.server(Path(folder), "cloud"))

    def ready(port: int) -> None:
        print(json.dumps({"listening": {"port": port}}, indent=1), flush=True)

    serve(cloud, "127.0.0.1", 0, ready)


async def _measured(cloud: CloudProcess, folder: Path) -> dict[str, Any]:
    halves = _halves()
    link = await Link.open(
        halves, "127.0.0.1", cloud.port, tls=certs.client(folder, "edge"), name="cloud"
    )
    values = halves.run.bind(torch.randn(1, BYTES // 4))
    wall, own = [], []
    theirs = 0.0
    for number in range(_WARM + _ASKED):
        if number == _WARM:
            theirs = cloud.cpu_s
        begun, used = time.perf_counter(), time.thread_time()
        asked = halves.encode(halves.head(values, 0), 0, 0)
        reply = await link.ask(asked, within_s=30.0)
        if number >= _WARM:
            wall.append(time.perf_counter() - begun)
            own.append(time.thread_time() - used)
        assert len(reply.values) == 1
    theirs = (cloud.cpu_s - theirs) / _ASKED
    await link.close()
    return {"bytes": BYTES, "wall_s": wall, "edge_cpu_s": own, "cloud_cpu_s": theirs}


def main() -> None:
    """Measure; print the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certs.make(folder, ["cloud", "edge"])
        command = [sys.executable, "-m", "benchmarks.partition.wire", name]
        cloud = CloudProcess(command)
        with ExitStack() as ends:
            ends.callback(cloud.kill)
            if not no_quota():  # what else runs is not to hold them up
                both = ends.enter_context(CpuQuota(1.0))
                both.add(cloud.process.pid)
                both.add(os.getpid())
            found = asyncio.run(_measured(cloud, folder))
    print(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        _serve(sys.argv[1])
    else:
        main()
