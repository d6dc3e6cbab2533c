"""A real cloud behind a link that fails: none lost, none wrong, none twice."""

import math
import socket
import time

import pytest
import torch
from benchmarks.partition.bed import Bed, make_bundle, wait_until
from benchmarks.partition.faults import SCENARIOS
from benchmarks.partition.fuzz import fuzz

from trimtab.partition.live.cloud import Quotas
from trimtab.partition.live.connection import Patience
from trimtab.partition.live.emulate import unavailable
from trimtab.partition.live.pressure import no_stress

pytestmark = pytest.mark.integration

SHAPE = (1, 1, 32, 32)  # of LeNet-5


@pytest.fixture(autouse=True)
def _one_thread():
    """What both processes do: other threads, other bits."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("cryptography")
    return make_bundle(tmp_path_factory.mktemp("bed"), "lenet5")


@pytest.fixture(scope="module", params=["namespaces", "proxy"])
def bed(request, bundle):
    emulated = request.param == "namespaces"
    if emulated and (why := unavailable()):
        pytest.skip(f"no network can be emulated: {why}")
    with Bed(bundle, emulated=emulated) as made:
        yield made


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_request_has_its_one_right_answer(bed, name):
    if name == "pressed" and (why := no_stress()):
        pytest.skip(why)
    found = SCENARIOS[name](bed, 120)
    assert found["asked"] >= 120
    assert (found["lost"], found["wrong"], found["duplicate"]) == (0, 0, 0), found
    assert found["edge"]["failed"] == 0
    assert math.isfinite(found["back_s"]), found
    assert found["edge"]["remote"] > 0
    assert found.get("let_in", 0) == 0
    assert found.get("shown_out") == found.get("lorises")
    assert bed.cloud.resident_bytes < 2**30


@pytest.mark.timeout(200)
def test_frames_that_make_no_sense_neither_stop_nor_fill_a_cloud(bundle):
    found = fuzz(bundle, 3_000)
    assert found["read"] >= found["frames"] >= 3_000
    assert found["ended"] == found["harmful"] > 100
    assert found["asked"] > 0
    assert (found["lost"], found["wrong"], found["duplicate"]) == (0, 0, 0)
    before, after = found["resident_bytes"]
    assert after - before < Quotas().held_bytes / 10
    assert found["counts"]["held_bytes"] == 0


def test_an_edge_finds_a_cloud_that_starts_after_it(bundle):
    with Bed(bundle, emulated=False) as bed:
        bed.cloud.kill()
        patience = Patience(connect_s=0.5, rest_s=0.1, most_rest_s=0.5)
        with bed.edge(patience) as edge:
            assert edge(torch.zeros(SHAPE)).shape == (1, 10)
            assert not edge.state()["connected"]
            bed.start()
            assert wait_until(lambda: edge.controller.connected, within_s=20) < 20


def test_a_port_that_somebody_else_has_is_no_cloud(bundle):
    """It accepts and says nothing: the edge answers, and keeps looking."""
    with Bed(bundle, emulated=False) as bed:
        port = bed.cloud.port
        bed.cloud.kill()
        patience = Patience(connect_s=0.3, rest_s=0.1, most_rest_s=0.3)
        with socket.create_server(("127.0.0.1", port)), bed.edge(patience) as edge:
            begun = time.monotonic()
            edge(torch.zeros(SHAPE))
            while time.monotonic() - begun < 1.0:
                assert not edge.controller.connected
                time.sleep(0.05)
        bed.start()
