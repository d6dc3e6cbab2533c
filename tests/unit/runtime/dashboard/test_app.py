"""The routes of a live page."""

import http.client
import json
import threading

import pytest
from tests.unit.runtime.asgi import ask

pytest.importorskip("fastapi")

from trimtab.runtime.dashboard.app import create
from trimtab.runtime.dashboard.page import ASSETS, POLICY, asset
from trimtab.runtime.dashboard.state import Group, State, Tile
from trimtab.runtime.web import Server

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"


def source():
    tile = Tile(name=HOSTILE, value=3, metric="answers", counter=True)
    group = Group(title=HOSTILE, tiles=(tile,))
    return State(status=HOSTILE, headline=HOSTILE, blocks=(group,))


def made(**more):
    return create(f"trimtab {HOSTILE}", source, prefix="trimtab_test", **more)


def test_the_page_has_a_policy_and_no_cookies():
    found = ask(made(), "GET", "/")
    assert found.status == 200
    assert found.headers["content-type"].startswith("text/html")
    assert found.headers["content-security-policy"] == POLICY
    assert "set-cookie" not in found.headers
    assert HOSTILE not in found.body.decode()


@pytest.mark.parametrize(("name", "kind"), ASSETS.items())
def test_what_the_page_is_made_of_is_served(name, kind):
    found = ask(made(), "GET", f"/{name}")
    assert found.status == 200
    assert found.headers["content-type"].startswith(kind)
    assert found.body.decode() == asset(name)


def test_state_metrics_and_health():
    app = made()
    assert ask(app, "GET", "/state").json["status"] == HOSTILE
    metrics = ask(app, "GET", "/metrics")
    assert b"trimtab_test_answers_total 3.0" in metrics.body
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert ask(app, "GET", "/healthz").json == {"status": "ok"}


@pytest.mark.parametrize("path", ["/", "/state", "/events", "/live.js"])
def test_without_a_page_there_are_metrics_only(path):
    app = made(shown=False)
    assert ask(app, "GET", path).status == 404
    assert ask(app, "GET", "/metrics").status == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_nothing_fetches_scripts_from_elsewhere(path):
    assert ask(made(), "GET", path).status == 404


def test_it_takes_nothing():
    for path in ("/", "/state", "/metrics", "/events"):
        assert ask(made(), "POST", path).status == 405


def test_events_come_over_a_real_socket_and_end_with_the_server():
    app = made(every_s=0.02)
    lines, ended = [], threading.Event()
    with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
        connection = http.client.HTTPConnection(
            server.url.removeprefix("http://"), timeout=10
        )
        connection.request("GET", "/events")

        def read():
            with connection.getresponse() as stream:
                for line in stream:
                    lines.append(line)
                    if len(lines) == 8:
                        ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert ended.wait(10)
    reader.join(10)
    connection.close()
    assert not reader.is_alive()
    told = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert len(told) >= 3
    assert told[0]["blocks"][0]["tiles"][0]["value"] == 3


def test_viewers_are_counted_out(monkeypatch):
    from trimtab.runtime.dashboard import app as module

    monkeypatch.setattr(module, "_VIEWERS", 0)
    assert ask(made(), "GET", "/events").status == 503
