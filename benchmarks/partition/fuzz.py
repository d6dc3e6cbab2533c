"""Damaged, foreign and oversized frames against a cloud that serves others meanwhile.

    python -m benchmarks.partition.fuzz 100000

A connection says what it is, then frames that are well formed and make no sense, then,
mostly, one that breaks the rules and ends it. The cloud counts the frames that it read:
what follows one that ended a connection is no fuzzed frame. An edge asks all the while.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.partition.bed import CloudProcess, another_cut, trimtab
from benchmarks.partition.faults import bundle
from trimtab.partition.live.connection import Address
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.open import open_edge, open_halves
from trimtab.partition.live.wire import Kind, Part, Reader, chunks, frame, head, record
from trimtab.pipeline.load import load

__all__ = ["fuzz", "main"]

_END: Final = 0.15  # share of frames that break the rules
_WARM: Final = 50  # connections ahead of the first look at the memory
_DOUBLES: Final = (0.0, -1.0, 1e300, math.nan, math.inf, -math.inf)


class _Frames:
    """Frames that nobody in his right mind would send.

    Args:
        halves: of the network.
        seed: of all that is drawn.
    """

    def __init__(self, halves: Halves, seed: int) -> None:
        self.halves = halves
        self.drawn = random.Random(seed)
        self.number = 0

    def harmless(self) -> list[bytes]:
        """Return frames that keep to the rules: the connection goes on."""
        way = self.drawn.randrange(5)
        if way == 0:
            return [frame(Kind.CANCEL, self.drawn.getrandbits(64))]
        if way == 1:
            size = self.drawn.choice((0, 1, 1000, 30_000))
            return [frame(Kind.PROBE, self.drawn.getrandbits(64), bytes(size))]
        return self._request(whole=way != 2)

    def _request(self, *, whole: bool) -> list[bytes]:
        """Return a request of any bytes, which may be withdrawn in the middle."""
        self.number += 1
        drawn = self.drawn
        cut = drawn.randrange(len(self.halves.cuts))
        kinds = [self.halves.graph.type_of(ref) for ref in self.halves.cuts[cut].values]
        sizes = [
            kind.size_bytes if drawn.random() < 0.5 else drawn.randrange(1, 64)
            for kind in kinds
        ]
        parts = [
            Part(drawn.choice(("raw", "fp16", "int8", "int4")), drawn.choice(_DOUBLES),
                 drawn.choice(_DOUBLES), size)
            for size in sizes
        ]  # fmt: skip
        first = head(
            Kind.REQUEST, self.number, cut=cut, codec=0,
            milliseconds=drawn.getrandbits(32), seconds=drawn.choice(_DOUBLES),
            parts=parts,
        )  # fmt: skip
        rest = list(chunks(self.number, [drawn.randbytes(size) for size in sizes]))
        if whole:
            return [first, *rest]
        return [first, *rest[:-1], frame(Kind.CANCEL, self.number)]

    def harmful(self) -> bytes:
        """Return a frame that ends the connection."""
        drawn = self.drawn
        good = bytearray(self._request(whole=True)[0])
        way = drawn.randrange(8)
        if way == 0:  # a header that is none
            good[drawn.randrange(3)] ^= 1 << drawn.randrange(8)
        elif way == 1:
            good[3] = drawn.randrange(11, 256)
        elif way == 2:  # larger than any
            good[12:16] = struct.pack(">I", drawn.randrange(65_537, 2**32))
        elif way == 3:  # a head that does not add up
            body = drawn.randbytes(drawn.randrange(15)) + b"\xff"
            return frame(Kind.REQUEST, self.number, body)
        elif way == 4:  # more than the cut has
            return head(
                Kind.REQUEST, self.number, cut=drawn.getrandbits(16), codec=0,
                milliseconds=0, seconds=0.0,
                parts=[Part("raw", 0.0, 0.0, 2**32 - 1)] * drawn.randrange(1, 200),
            )  # fmt: skip
        elif way == 5:
            return frame(Kind.CHUNK, drawn.getrandbits(64) | 2**63, drawn.randbytes(9))
        elif way == 6:  # twice the same
            return bytes(good) + bytes(good)
        else:
            kind = drawn.choice((Kind.HELLO, Kind.WELCOME, Kind.REPLY, Kind.ERROR))
            return frame(kind, drawn.getrandbits(64), drawn.randbytes(99))
        return bytes(good)


def _talk(port: int, hello: bytes, harmless: bytes, harmful: bytes) -> bool:
    """Say all of it; return whether that ended the connection.

    Raises:
        RuntimeError: the connection ended before its time.
    """
    probe = frame(Kind.PROBE, 2**64 - 1)

    def taken(client: socket.socket) -> bool:
        """Return whether a probe came back, ahead of an error or an end."""
        frames = Reader()
        with contextlib.suppress(OSError):
            client.sendall(probe)
            while data := client.recv(65_536):
                for each in frames.feed(data):
                    if each.kind is Kind.PROBE and each.request == 2**64 - 1:
                        return True
                    if each.kind is Kind.ERROR and not each.request:
                        return False
        return False

    with socket.create_connection(("127.0.0.1", port), 30.0) as client:
        client.sendall(hello + harmless)
        if not taken(client):
            raise RuntimeError("what keeps to the rules ended a connection")
        if not harmful:
            return False
        with contextlib.suppress(OSError):
            client.sendall(harmful)
        return not taken(client)


def fuzz(bundle: Path, count: int, *, seed: int = 0) -> dict[str, Any]:
    """Send frames until the cloud has read `count` that are fuzzed.

    Args:
        bundle: of a network with cuts.
        count: of frames.
        seed: of all that is drawn.
    """
    halves, _ = open_halves(bundle)
    whole = load(bundle)
    drawn = torch.Generator().manual_seed(seed)
    shape = halves.graph.inputs[0].type.shape  # type: ignore[union-attr]
    xs = [torch.randn(shape, generator=drawn) for _ in range(16)]
    right = [whole(x) for x in xs]
    cloud = CloudProcess(trimtab("cloud", str(bundle), "--listen", ":0", "--json"))
    edge = open_edge(bundle, cloud=Address(host="127.0.0.1", port=cloud.port))
    another_cut(edge.controller)
    stopped = threading.Event()
    lost, wrong, asked = 0, 0, 0

    def ask() -> None:
        nonlocal lost, wrong, asked
        while not stopped.wait(0.02):
            asked += 1
            try:
                found = edge(xs[asked % 16])
            except Exception as error:
                print(f"  request {asked}: {error}", file=sys.stderr)
                lost += 1
            else:
                wrong += not torch.equal(found, right[asked % 16])

    thread = threading.Thread(target=ask)
    frames = _Frames(halves, seed)
    hello = record(Kind.HELLO, halves.identity())
    sent = connections = harmful = ended = 0
    begun, cpu, mine = time.monotonic(), cloud.cpu_s, time.process_time()
    before = cloud.resident_bytes
    try:
        with edge:
            thread.start()
            while sent < count:
                several: list[bytes] = []
                while frames.drawn.random() > _END:
                    several += frames.harmless()
                last = frames.harmful() if frames.drawn.random() < 0.9 else b""
                ended += _talk(cloud.port, hello, b"".join(several), last)
                harmful += bool(last)
                sent += len(several) + bool(last)
                connections += 1
                frames.number = 0
                if connections == _WARM:
                    before = cloud.resident_bytes
                if connections % 1000 == 0:
                    print(f"  {sent} frames", file=sys.stderr)
            stopped.set()
            thread.join()
            remote = edge.state()["remote"]
            duplicate = max(0, edge.state()["answers"] - asked)
    finally:
        stopped.set()
        after, used = cloud.resident_bytes, cloud.cpu_s - cpu
        counted = cloud.stop()
    return {
        "frames": sent,
        "read": counted["frames"] + counted["broken"],
        "connections": connections,
        "harmful": harmful,
        "ended": ended,
        "asked": asked,
        "remote": remote,
        "lost": lost,
        "wrong": wrong,
        "duplicate": duplicate,
        "resident_bytes": [before, after],
        "cloud_cpu_s": used,
        "own_cpu_s": time.process_time() - mine,
        "took_s": time.monotonic() - begun,
        "counts": counted,
    }


def main(count: str) -> None:
    """Send that many; print the result."""
    print(json.dumps(fuzz(bundle(), int(count))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
