"""An emulated link has the rate and delay that it was told."""

import contextlib
import socket
import subprocess
from pathlib import Path

import pytest

from trimtab.errors import UsageError
from trimtab.partition.live.emulate import ADDRESS, Network, Shape, unavailable


@pytest.fixture(scope="module", autouse=True)
def _root(request):
    if why := unavailable():
        pytest.skip(f"no network can be emulated: {why}")


def test_rate_and_delay_are_those_that_were_asked_and_may_change():
    with Network(Shape(uplink_bytes_per_s=1e6, rtt_s=0.02)) as network:
        first = network.verify(bulk_s=0.4)
        # Other work makes a link slower, never faster.
        assert 0.02 <= first.rtt_s < 0.2
        assert 0.2e6 < first.uplink_bytes_per_s <= 1.02e6
        assert first.downlink_bytes_per_s > 2e6
        network.set(Shape(uplink_bytes_per_s=5e6, downlink_bytes_per_s=1e6))
        second = network.verify(bulk_s=0.4)
        assert second.asked == network.shape
        assert second.rtt_s < 0.02
        assert 1e6 < second.uplink_bytes_per_s <= 5.1e6
        assert second.downlink_bytes_per_s <= 1.02e6


def test_commands_run_on_a_side():
    with Network() as network:
        for side, address in ADDRESS.items():
            command = network.command(side, "ip", "-brief", "address")
            said = subprocess.run(command, capture_output=True, text=True, check=True)
            assert address in said.stdout
            assert "eth0" not in said.stdout


def test_a_black_hole_tells_nobody_and_ends():
    with Network() as network:
        with network.inside("cloud"):
            listener = socket.create_server((ADDRESS["cloud"], 0))
        network.set(Shape(black_hole=True))
        with network.inside("edge"):
            one = socket.socket()
        one.settimeout(0.3)
        with pytest.raises(TimeoutError):
            one.connect(listener.getsockname())
        one.close()
        network.set(Shape())
        with network.inside("edge"):
            socket.create_connection(listener.getsockname(), 10).close()
        listener.close()


def test_packets_are_lost():
    with Network(Shape(loss_frac=0.5)) as network:
        ends = []
        for side in ("edge", "cloud"):
            with network.inside(side):
                ends.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        near, far = ends
        far.bind((ADDRESS["cloud"], 7000))
        far.settimeout(0.5)
        for _ in range(200):
            near.sendto(b"x", (ADDRESS["cloud"], 7000))
        count = 0
        with contextlib.suppress(TimeoutError):
            while far.recv(1):
                count += 1
        for each in ends:
            each.close()
    assert 50 < count < 150


def test_a_thread_comes_back_and_the_process_that_holds_them_ends():
    def here():
        return Path("/proc/thread-self/ns/net").readlink()

    before = here()
    with Network() as network:
        with network.inside("edge"):
            edge = here()
        with network.inside("cloud"):
            assert here() not in (before, edge)
        assert here() == before != edge
    assert network._process.returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [{"uplink_bytes_per_s": 0}, {"downlink_bytes_per_s": 1e12}, {"rtt_s": -1},
     {"loss_frac": 1}, {"rtt_s": float("nan")}],
)  # fmt: skip
def test_links_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError, match="a link of"):
        Shape(**wrong)


def test_without_root_the_reason_is_told(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "root" in unavailable()
    monkeypatch.undo()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "iproute2" in unavailable()
