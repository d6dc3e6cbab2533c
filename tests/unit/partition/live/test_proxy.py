"""What a proxy does to the bytes of a connection."""

import contextlib
import socket
import threading
import time

import pytest

from trimtab.partition.live.emulate import Shape
from trimtab.partition.live.proxy import Proxy


@pytest.fixture
def echoed():
    """Port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(one):
        with one, contextlib.suppress(OSError):
            while data := one.recv(65_536):
                one.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                one, _ = listener.accept()
                threading.Thread(target=echo, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def opened(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def taken(one, count):
    found = bytearray()
    while len(found) < count:
        data = one.recv(65_536)
        assert data
        found += data
    return bytes(found)


def test_bytes_come_out_as_they_went_in(echoed):
    data = bytes(range(256)) * 2_000
    with Proxy(echoed) as proxy, opened(proxy) as one:
        threading.Thread(target=one.sendall, args=(data,), daemon=True).start()
        assert taken(one, len(data)) == data


def test_it_is_not_faster_than_its_shape(echoed):
    with Proxy(echoed, Shape(rtt_s=0.05)) as proxy, opened(proxy) as one:
        begun = time.monotonic()
        one.sendall(b"x")
        taken(one, 1)
        assert time.monotonic() - begun >= 0.05
        proxy.shape = Shape(uplink_bytes_per_s=200_000)
        begun = time.monotonic()
        one.sendall(bytes(60_000))
        taken(one, 60_000)
        assert time.monotonic() - begun >= 60_000 / 200_000


def test_a_black_hole_keeps_what_it_swallows_until_it_ends(echoed):
    with Proxy(echoed) as proxy, opened(proxy) as one:
        one.sendall(b"before")
        assert taken(one, 6) == b"before"
        proxy.shape = Shape(black_hole=True)
        one.sendall(b"into it")
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            one.recv(1)
        one.settimeout(10)
        proxy.shape = Shape()
        assert taken(one, 7) == b"into it"


def test_connections_are_cut_and_new_ones_may_come(echoed):
    with Proxy(echoed) as proxy:
        with opened(proxy) as one:
            one.sendall(b"x")
            taken(one, 1)
            proxy.cut()
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
        with opened(proxy) as other:
            other.sendall(b"y")
            assert taken(other, 1) == b"y"


def test_the_end_of_one_side_reaches_the_other(echoed):
    with Proxy(echoed) as proxy, opened(proxy) as one:
        one.sendall(b"last")
        one.shutdown(socket.SHUT_WR)
        assert taken(one, 4) == b"last"
        assert one.recv(1) == b""


def test_a_cloud_that_is_not_there_ends_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Proxy(port) as proxy, opened(proxy) as one:
        assert one.recv(1) == b""
