"""The live pages of an edge and its cloud under load, looked at by a real browser."""

import http.client
import json
import threading
import time

import pytest
from tests.unit.partition.live.nets import controller, made, served

pytest.importorskip("fastapi", reason="fastapi is missing: extra `edge`")

from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.http import cloud_app, edge_app
from trimtab.runtime.dashboard.app import create
from trimtab.runtime.dashboard.state import Group, Span, State, Strip, Tile, Trend
from trimtab.runtime.web import Server
from trimtab.units import format_value

pytestmark = [pytest.mark.browser, pytest.mark.integration]

HOSTILE = "</script><img src=http://x.invalid onerror=\"document.title='broken'\">"
UNITS = ("s", "bytes", "count", "frac", "bytes/s", "flops/s", "Hz", "req/s", "")


def serving(app):
    return Server(app, "127.0.0.1", 0, stopping=app.state.stop)


class Load:
    """Asks an edge from some threads, until it is told to end."""

    def __init__(self, url, threads=2):
        body = {"name": "x", "shape": [1, 3, 16, 16], "datatype": "FP32",
                "data": [0.1] * (3 * 16 * 16)}  # fmt: skip
        self.body = json.dumps({"inputs": [body]})
        self.host, self.ended = url.removeprefix("http://"), threading.Event()
        self.statuses = []
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        while not self.ended.is_set():
            connection.request(
                "POST", "/v2/models/net/infer", self.body,
                {"Content-Type": "application/json"},
            )  # fmt: skip
            answer = connection.getresponse()
            answer.read()
            self.statuses.append(answer.status)
            time.sleep(0.02)
        connection.close()

    def __enter__(self):
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for each in self.threads:
            each.join(20)


@pytest.fixture
def opened(chromium_page):
    """Return ``open(url, width)``; nothing may have gone wrong after all."""
    wrong: list[str] = []
    own: list[str] = []
    chromium_page.on("console", lambda message: wrong.append(message.text))
    chromium_page.on("pageerror", lambda error: wrong.append(str(error)))
    chromium_page.on(
        "request",
        lambda request: (
            None if request.url.startswith(own[-1]) else wrong.append(request.url)
        ),
    )

    def opened(url, width=1280, **media):
        own.append(url)
        chromium_page.set_viewport_size({"width": width, "height": 900})
        chromium_page.emulate_media(**media)
        chromium_page.goto(url)
        chromium_page.wait_for_selector("main > section", timeout=30_000)
        return chromium_page

    yield opened
    assert [each for each in wrong if not each.startswith("data:")] == []


def number(page, name):
    """Return the exact value of a tile, which hovering shows."""
    text = page.evaluate(
        """(name) => Array.from(document.querySelectorAll(".tile"))
            .find((tile) => tile.querySelector(".name").textContent === name).title""",
        name,
    )
    return float(text.split(": ")[1].split(" ")[0]) if text else 0.0


def until(page, holds):
    """Wait: the page's policy lets no condition of playwright's be evaluated in it."""
    for _ in range(300):
        if holds():
            return
        page.wait_for_timeout(100)
    pytest.fail("it does not come to hold")


@pytest.mark.parametrize("width", [1280, 390])
def test_numbers_of_both_sides_move_under_load(opened, width):
    _, halves = made()
    with (
        served(halves) as cloud,
        Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        ) as edge,
        serving(edge_app(edge, shown=True)) as server,
        serving(cloud_app(cloud.cloud)) as other,
        Load(server.url) as load,
    ):
        page = opened(server.url, width)
        until(page, lambda: page.inner_text(".headline") != "No request yet")
        first = number(page, "requests")
        until(page, lambda: number(page, "requests") > first + 10)
        until(
            page,
            lambda: page.evaluate(
                """Array.from(document.querySelectorAll(".trend"))
                    .every((card) => card.querySelector("path")?.getAttribute("d"))"""
            ),
        )
        assert number(page, "p99 latency") > 0
        assert number(page, "remote") > 0
        assert page.inner_text("#status").startswith("connected to")
        assert page.inner_text("#age") == "live"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("table tbody tr").count() >= 1
        page.hover(".trend svg")
        page.wait_for_selector(".trend svg .cursor", state="attached")
        page = opened(other.url, width)
        before = number(page, "answers")
        until(page, lambda: number(page, "answers") > before)
        page.goto("about:blank")
    assert set(load.statuses) == {200}
    assert edge.counts["answers"] == len(load.statuses)


def hostile():
    return State(
        status=HOSTILE, heading=HOSTILE, headline=HOSTILE, reasons=(HOSTILE,),
        blocks=(
            Group(title=HOSTILE,
                  tiles=(Tile(name=HOSTILE, value=1, unit=HOSTILE, note=HOSTILE),)),
            Trend(title=HOSTILE, unit=HOSTILE, times_s=(-1.0, 0.0),
                  lines=((HOSTILE, (1.0, None)),)),
            Strip(title=HOSTILE,
                  spans=(Span(name=HOSTILE, begin_s=-95.0, end_s=0.0, colour=0),)),
        ),
    )  # fmt: skip


def test_texts_are_texts_and_a_server_that_ends_is_noticed(opened):
    with serving(create("Page", hostile, prefix="x", every_s=0.1)) as server:
        page = opened(server.url, color_scheme="dark")
        assert page.inner_text(".headline") == HOSTILE
        assert page.locator("img").count() == 0
        assert page.title() == "Page"
        marks = page.locator(".strip svg text:not(.span-name)").all_text_contents()
        assert [text.replace("\u2212", "-") for text in marks] == [
            "now", "-15 s", "-30 s", "-45 s", "-1 min", "-1.25 min", "-1.5 min",
        ]  # fmt: skip
        colours = page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor,
                      getComputedStyle(document.body).color]"""
        )
        assert colours == ["rgb(20, 23, 28)", "rgb(230, 232, 236)"]
        page.evaluate("window.stop()")  # its stream as well: there is no news now
        page.wait_for_selector("html.stale", timeout=20_000, state="attached")
        assert "no news" in page.inner_text("#age")
        page.goto("about:blank")


def test_quantities_are_written_as_in_the_terminal(opened):
    values = [
        sign * digits * 10.0**power
        for power in range(-10, 13, 2)
        for digits in (0.0, 1.0, 1.2345, 9.994, 5.0)
        for sign in (1, -1)
    ]
    cases = [(value + 0.0, unit) for value in values for unit in UNITS]
    with serving(create("Page", hostile, prefix="x")) as server:
        page = opened(server.url)
        found = page.evaluate(
            "(cases) => cases.map(([value, unit]) => window.formatValue(value, unit))",
            cases,
        )
        page.goto("about:blank")
    different = [
        (case, text, format_value(*case))
        for case, text in zip(cases, found, strict=True)
        if text != format_value(*case)
    ]
    assert different == []
