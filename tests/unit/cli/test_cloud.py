"""`trimtab cloud`: what it refuses, ahead of listening."""

import gc

import pytest
from tests.unit.cli.test_edge import bundle  # noqa: F401 - a fixture
from tests.unit.partition.test_step import plan  # noqa: F401 - a fixture

from trimtab.cli.cloud import address
from trimtab.errors import UsageError
from trimtab.partition.live import run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("absent",), "absent"),
        (("{bundle}", "--listen", "0.0.0.0:7400"), "without TLS"),
        (("{bundle}", "--http", "0.0.0.0:0"), "without TLS"),
        (
            ("{bundle}", "--listen", ":0", "--http", "192.0.2.1:0", "--plain"),
            "listening on 192.0.2.1",
        ),
        (("{bundle}", "--listen", "7400"), "address '7400'"),
        (("{bundle}", "--tls", "none"), "trimtab certs"),
        (("{bundle}", "--tls", "none", "--plain"), "--tls with --plain"),
        (("{bundle}", "--memory", "10MB"), "without --lazy"),
        (("{bundle}", "--token-file", "x"), "needs an address"),
        (("{bundle}", "--http", ":0", "--token-file", "absent"), "a token from"),
    ],
)
def test_bad_input_is_one_message(trimtab, bundle, options, said):  # noqa: F811
    done = trimtab("cloud", *(each.format(bundle=bundle) for each in options))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_who_runs_for_long_does_not_keep_what_is_over(
    trimtab,
    bundle,  # noqa: F811
    monkeypatch,
):
    collecting = []
    monkeypatch.setattr(
        run, "serve", lambda *arguments: collecting.append(gc.isenabled())
    )
    assert trimtab("cloud", str(bundle), "--listen", ":0").returncode == 0
    assert collecting == [True]


@pytest.mark.parametrize("text", ["", "host", ":99999", "a:b"])
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match="address"):
        address(text)
