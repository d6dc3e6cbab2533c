"""`trimtab serve NETWORK --cluster`: what is refused before there is work.

That it serves is tested where there is a cluster: serve/live/test_cluster.py.
"""

import sys

import pytest

from trimtab.cli.serve_cluster import check_cluster
from trimtab.errors import MissingExtraError

pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--replicas", "2"), "there is one a host"),
        (("--cluster", "10.0.0.1"), "it is auto, or ray://HOST:PORT"),
        (("--cluster", "auto", "--replicas", "4..1"), "or two as in 1..4"),
        (("--cluster", "auto", "--replicas", "many"), "or two as in 1..4"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_opened(trimtab, options, said):
    done = trimtab("serve", "start", "zoo:ncf-small", *options, "--json")
    assert done.returncode == 1
    assert said in done.stdout


def test_nobody_at_an_address_is_one_clear_message(trimtab):
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    done = trimtab(
        "serve", "start", "zoo:ncf-small", "--cluster", "ray://127.0.0.1:1",
        "--http", ":0", "--json",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Connection refused" in done.stdout
    assert "ray start --head" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trimtab\[cluster\]'"):
        check_cluster("auto", None)
    check_cluster(None, None)
