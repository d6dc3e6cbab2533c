"""The wire between two network namespaces: a process that holds packets back.

    python -m trimtab.partition.live.delay

Makes two namespaces, each with a TUN device, and prints where they are; what one sends
comes out of the other a while later. It reads what to do from its input, a JSON object
a line, and ends with it: namespaces and devices are held by nothing else, so that none
is left behind, however the caller ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

__all__ = ["DEVICE", "inside", "main"]

DEVICE: Final = "wan"
"""Name of the device, in either namespace."""

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_SET_DEVICE: Final = 0x400454CA  # TUNSETIFF
_TUN_WITHOUT_HEADER: Final = 0x1001  # IFF_TUN | IFF_NO_PI
_MOST_PACKET: Final = 65_536
_MOST_READ: Final = 64  # packets of one side, before it is the other's turn
_LOOK_S: Final = 1.0


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Make this thread's new sockets, threads and processes those of a namespace.

    Sockets stay what they are: only where they are made matters.

    Args:
        namespace: an open file of it.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _checked("setns", namespace, _NEW_NETWORK)
        yield
    finally:
        _checked("setns", home, _NEW_NETWORK)
        os.close(home)


def _checked(call: str, *arguments: int) -> None:
    """Call the C library; Python has these calls from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")


def _end() -> tuple[int, int]:
    """Return a new namespace and the TUN device in it; the thread stays there."""
    _checked("unshare", _NEW_NETWORK)
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    asked = struct.pack("16sH", DEVICE.encode(), _TUN_WITHOUT_HEADER)
    fcntl.ioctl(device, _SET_DEVICE, asked)
    return namespace, device


def _say(record: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Pass packets on until the input ends."""
    try:
        ends = [_end(), _end()]
    except OSError as error:
        _say({"error": str(error)})
        return
    devices = [device for _, device in ends]
    _say({"namespaces": [each for each, _ in ends]})
    lines = b""
    delay_s, loss_frac, black_hole = 0.0, 0.0, False
    rates = [1e12, 1e12]
    drawn = random.Random(0)
    held: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    while True:
        now = time.monotonic()
        due = min((each[0][0] for each in held if each), default=now + _LOOK_S)
        ready, _, _ = select.select([0, *devices], [], [], max(0.0, due - now))
        if 0 in ready:
            more = os.read(0, 4096)
            if not more:
                return
            *whole, lines = (lines + more).split(b"\n")
            for line in whole:
                said = json.loads(line)
                delay_s, loss_frac = said["delay_s"], said["loss_frac"]
                black_hole, rates = said["black_hole"], said["bytes_per_s"]
                if black_hole:
                    for queue in held:
                        queue.clear()
                _say({})
        now = time.monotonic()
        for device, queue, rate in zip(devices, held, rates, strict=True):
            if device not in ready:
                continue
            with contextlib.suppress(BlockingIOError):
                for _ in range(_MOST_READ):
                    packet = os.read(device, _MOST_PACKET)
                    if not black_hole and drawn.random() >= loss_frac:
                        # The token bucket lets a packet go when it may begin.
                        after_s = delay_s + len(packet) / rate
                        queue.append((now + after_s, packet))
        for device, queue in zip(reversed(devices), held, strict=True):
            while queue and queue[0][0] <= now:
                # A device that is not up yet takes none: a packet is lost.
                with contextlib.suppress(OSError):
                    os.write(device, queue[0][1])
                queue.popleft()


if __name__ == "__main__":
    main()
