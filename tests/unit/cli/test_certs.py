"""`trimtab certs`: an authority and certificates, once."""

import json

import pytest

pytest.importorskip("cryptography")


def test_certificates_are_made_once(trimtab, tmp_path):
    done = trimtab("certs", "c", "--name", "cloud", "--host", "10.0.0.7", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["written"]) == 4
    again = trimtab("certs", "c", "--name", "cloud")
    assert again.returncode == 1
    assert "there is one already" in again.stderr
    more = trimtab("certs", "c", "--name", "edge-2")
    assert more.returncode == 0
    assert "keep ca.key apart" in more.stdout


@pytest.mark.parametrize("name", ["a b", "ca", ""])
def test_names_that_are_none_are_refused(trimtab, tmp_path, name):
    done = trimtab("certs", "c", "--name", name)
    assert done.returncode == 1
    assert "certificate for" in done.stderr
    assert not (tmp_path / "c").exists()
