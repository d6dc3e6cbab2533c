"""Certificates: who is let in, and who is not."""

import asyncio
import ssl
import stat

import pytest
import torch
from tests.unit.partition.live.nets import controller, made, served

from trimtab.errors import LinkError, UsageError
from trimtab.partition.live.cloud import Quotas
from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.link import Link
from trimtab.runtime import certs

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("fleet") / "certs"
    certs.make(found, ["cloud", "edge-1"], days=2)
    return found


@pytest.fixture(scope="module")
def both():
    return made()


def test_both_sides_know_each_other(both, folder):
    net, halves = both
    x = torch.randn(1, 3, 16, 16)
    quotas = Quotas(bytes_per_s=1e9)
    with served(halves, tls=certs.server(folder, "cloud"), quotas=quotas) as cloud:
        where = Address(
            host="127.0.0.1", port=cloud.port, tls=certs.client(folder, "edge-1"),
            name="cloud",
        )  # fmt: skip
        with Edge(halves, controller(halves), cloud=where) as edge:
            assert torch.equal(edge(x), net(x))
            assert edge.state()["remote"] == 1
        # Quotas are by the name in the certificate.
        assert list(cloud.cloud._quota) == ["edge-1"]


def test_others_are_not_let_in(both, folder, tmp_path):
    _, halves = both
    certs.make(tmp_path / "other", ["cloud", "edge-1"])

    async def go(port, context, name):
        link = await Link.open(
            halves, "127.0.0.1", port, tls=context, name=name, within_s=3
        )
        await link.close()

    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(folder / "ca.pem")
    old = certs.client(folder, "edge-1")
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with served(halves, tls=certs.server(folder, "cloud")) as cloud:
        for context, name in (
            (nobody, "cloud"),  # without a certificate
            (certs.client(tmp_path / "other", "edge-1"), "cloud"),  # of others
            (certs.client(folder, "edge-1"), "another-cloud"),  # another name
            (old, "cloud"),
            (None, None),
        ):
            with pytest.raises(LinkError):
                asyncio.run(go(cloud.port, context, name))
        asyncio.run(go(cloud.port, certs.client(folder, "edge-1"), "cloud"))


def test_keys_are_their_owners_alone_and_nothing_is_overwritten(folder):
    for key in folder.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = {each: each.read_bytes() for each in folder.iterdir()}
    with pytest.raises(UsageError, match="there is one already"):
        certs.make(folder, ["edge-2", "cloud"])
    assert {each: each.read_bytes() for each in folder.iterdir()} == before
    certs.make(folder, ["edge-2"])
    assert (folder / "ca.pem").read_bytes() == before[folder / "ca.pem"]


@pytest.mark.parametrize("name", ["", "ca", "../x", "a b", "-x"])
def test_names_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="certificate for"):
        certs.make(tmp_path / "new", [name])
    assert not (tmp_path / "new").exists()


def test_what_is_missing_is_told(tmp_path):
    for make in (certs.server, certs.client):
        with pytest.raises(UsageError, match="trimtab certs"):
            make(tmp_path, "cloud")
    with pytest.raises(UsageError, match="one day at least"):
        certs.make(tmp_path, ["a"], days=0)
