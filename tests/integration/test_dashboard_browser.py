"""The live pages of a server, an edge and its cloud under load, in a real browser."""

import http.client
import json
import threading
import time

import pytest
from tests.unit.partition.live.nets import controller, made, served
from tests.unit.serve.live.test_engine import query, settings

pytest.importorskip("fastapi", reason="fastapi is missing: extra `edge`")

from trimtab.partition.live.connection import Address
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.http import cloud_app, edge_app
from trimtab.runtime.dashboard.app import create
from trimtab.runtime.dashboard.state import (
    Entry,
    Group,
    Log,
    Span,
    State,
    Strip,
    Tile,
    Trend,
)
from trimtab.runtime.web import Server
from trimtab.serve.capacity import Target
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.http import serve_app
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import Schedule
from trimtab.units import format_value

pytestmark = [pytest.mark.browser, pytest.mark.integration]

HOSTILE = "</script><img src=http://x.invalid onerror=\"document.title='broken'\">"
UNITS = ("s", "bytes", "count", "frac", "bytes/s", "flops/s", "Hz", "req/s", "")


def serving(app):
    return Server(app, "127.0.0.1", 0, stopping=app.state.stop)


IMAGE = {"name": "x", "shape": [1, 3, 16, 16], "datatype": "FP32",
         "data": [0.1] * (3 * 16 * 16)}  # fmt: skip


class Load:
    """Asks a model from some threads, until it is told to end."""

    def __init__(self, url, model, inputs, threads=2):
        self.body, self.path = (
            json.dumps({"inputs": inputs}),
            f"/v2/models/{model}/infer",
        )
        self.host, self.ended = url.removeprefix("http://"), threading.Event()
        self.statuses = []
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=20)
        while not self.ended.is_set():
            kind = {"Content-Type": "application/json"}
            connection.request("POST", self.path, self.body, kind)
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


def all_drawn(page):
    """Return whether each figure over time has lines."""
    return page.evaluate(
        """Array.from(document.querySelectorAll(".trend"))
            .every((card) => card.querySelector("path")?.getAttribute("d"))"""
    )


def fits(page, width):
    """Return whether nothing is wider than a screen."""
    page.set_viewport_size({"width": width, "height": 900})
    return page.evaluate("document.documentElement.scrollWidth") <= width


def told(page):
    """Return what the log says, the newest first."""
    return page.locator(".log .what").all_inner_texts()


def test_an_edge_and_its_cloud_under_load(opened):
    _, halves = made()
    with (
        served(halves) as cloud,
        Edge(
            halves, controller(halves), cloud=Address(host="127.0.0.1", port=cloud.port)
        ) as edge,
        serving(edge_app(edge, shown=True)) as server,
        serving(cloud_app(cloud.cloud, shown=True)) as other,
        Load(server.url, "net", [IMAGE]) as load,
    ):
        page = opened(server.url)
        until(page, lambda: page.inner_text(".headline") != "No request yet")
        first = number(page, "requests")
        until(page, lambda: number(page, "requests") > first + 10)
        until(page, lambda: all_drawn(page))
        assert number(page, "p99 latency") > 0
        assert number(page, "remote") > 0
        assert page.inner_text("#status").startswith("connected to")
        assert page.inner_text("#age") == "live"
        assert page.locator("table tbody tr").count() >= 1
        until(page, lambda: page.inner_text(".headline") in told(page))
        assert any(each.startswith("connected to") for each in told(page))
        assert "goodput" in " ".join(page.locator(".log .why").all_inner_texts())
        assert fits(page, 1280)
        assert fits(page, 390)
        page = opened(other.url, 390)
        before = number(page, "answers")
        until(page, lambda: number(page, "answers") > before)
        until(page, lambda: all_drawn(page))
        assert number(page, "connected") == 1
        assert page.inner_text("#status") == "1 connection"
        assert "1 connection" in told(page)
        assert fits(page, 390)
        assert fits(page, 1280)
        page.goto("about:blank")
    assert set(load.statuses) == {200}
    assert edge.counts["answers"] == len(load.statuses)


def test_a_server_under_load(opened):
    kinds = {"float32": "FP32", "int64": "INT64"}
    inputs = [
        {"name": name, "shape": list(each.shape), "data": each.ravel().tolist(),
         "datatype": kinds[str(each.dtype)]}
        for name, each in query(12).items()
    ]  # fmt: skip
    target = Target(latency_s=30.0)
    with (
        Engine(settings(workers=1), Schedule(batch=8)) as engine,
        Steering(engine, None, target) as side,
        serving(serve_app(side, "Batch 8, for a test.", shown=True)) as server,
        Load(server.url, engine.name, inputs) as load,
    ):
        page = opened(server.url)
        first = number(page, "answers")
        until(page, lambda: number(page, "answers") > first + 10)
        until(page, lambda: all_drawn(page))
        assert 0 < number(page, "p50 latency") <= number(page, "p99 latency")
        assert number(page, "throughput") > 0
        assert number(page, "target") == target.latency_s
        assert "within 30.0 s" in page.inner_text("#status")
        assert page.get_attribute("#status", "class") == "good"
        assert page.inner_text(".headline") == "Batch 8"
        assert "Batch 8, for a test." in page.inner_text(".force")
        engine.schedule = Schedule(batch=16, version=1)
        until(page, lambda: page.inner_text(".headline") == "Batch 16")
        until(page, lambda: "batch 8 \u2192 batch 16" in told(page))
        legend = page.locator(".strip .legend li").all_inner_texts()
        names = [each.split("\n")[0].strip() for each in legend]
        assert names == ["batch 8", "batch 16"]
        assert fits(page, 1280)
        assert fits(page, 390)
        page.goto("about:blank")
    assert set(load.statuses) == {200}


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
            Log(title=HOSTILE,
                entries=(Entry(when_s=-1.0, what=HOSTILE, why=HOSTILE),)),
        ),
    )  # fmt: skip


def test_texts_are_texts(opened):
    with serving(create("Page", hostile, prefix="x", every_s=0.1)) as server:
        page = opened(server.url, color_scheme="dark")
        assert page.inner_text(".headline") == HOSTILE
        assert page.locator("img").count() == 0
        assert page.title() == "Page"
        assert told(page) == [HOSTILE]
        marks = page.locator(".strip svg text:not(.span-name)").all_text_contents()
        assert [text.replace("\u2212", "-") for text in marks] == [
            "now", "-15 s", "-30 s", "-45 s", "-1 min", "-1.25 min", "-1.5 min",
        ]  # fmt: skip
        colours = page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor,
                      getComputedStyle(document.body).color]"""
        )
        assert colours == ["rgb(20, 23, 28)", "rgb(230, 232, 236)"]
        page.goto("about:blank")


def test_old_news_and_a_server_that_is_gone_are_said(chromium_page):
    page = chromium_page  # its console may complain of the server, not of the page
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    broken = threading.Event()

    def source():
        if broken.is_set():
            raise RuntimeError("this look fails")
        return hostile()

    with serving(create("Page", source, prefix="x", every_s=0.1)) as server:
        url = server.url
        page.goto(url)
        until(page, lambda: page.inner_text("#age") == "live")
        broken.set()
        until(page, lambda: page.inner_text("#age").startswith("no news for"))
        assert page.locator("html.stale").count() == 1
        broken.clear()
        until(page, lambda: page.inner_text("#age") == "live")
        assert page.locator("html.stale").count() == 0
    until(page, lambda: page.inner_text("#age").startswith("server gone, last news"))
    assert page.locator("html.stale").count() == 1
    assert page.inner_text("#said") == "No news: what is shown is old."
    app = create("Page", hostile, prefix="x", every_s=0.1)
    port = int(url.rsplit(":", 1)[1])
    with Server(app, "127.0.0.1", port, stopping=app.state.stop):
        until(page, lambda: page.inner_text("#age") == "live")
        assert page.locator("html.stale").count() == 0
        page.goto("about:blank")
    assert wrong == []


def rising():
    times = tuple(float(each) for each in range(-40, 1))
    trend = Trend(title="T", unit="s", times_s=times,
                  lines=(("up", tuple(41.0 + each for each in times)),))  # fmt: skip
    return State(status="ok", headline="h", blocks=(trend,))


def test_figures_can_be_read_by_keys_and_as_numbers(opened):
    with serving(create("Page", rising, prefix="x", every_s=0.1)) as server:
        page = opened(server.url)
        assert page.locator("h1").count() == 1
        assert page.locator("section[aria-label=T] h2").inner_text() == "T"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "svg"
        heard = []
        for key in ("ArrowLeft", "ArrowLeft", "ArrowRight", "Home", "End", "Escape"):
            page.keyboard.press(key)
            heard.append(" ".join(page.inner_text("#said").split()))
        assert heard == [
            "1 s ago: up 40.0 s", "2 s ago: up 39.0 s", "1 s ago: up 40.0 s",
            "40 s ago: up 1.00 s", "0 s ago: up 41.0 s", "now",
        ]  # fmt: skip
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # opens the numbers
        until(page, lambda: page.locator("details tbody tr").count() > 0)
        rows = page.locator("details tbody tr").all_inner_texts()
        assert rows[0].split("\t") == ["0 s ago", "41.0 s"]
        assert rows[-1].split("\t") == ["40 s ago", "1.00 s"]
        assert len(rows) == 11
        page.hover(".trend > svg")
        page.wait_for_selector(".trend > svg .cursor", state="attached")
        page.goto("about:blank")


def test_a_page_that_is_open_for_long_holds_no_more_than_at_first(opened):
    looks = [0]

    def source():
        looks[0] += 1
        entry = Entry(when_s=-1.0, what=f"event {looks[0]}")
        blocks = (*hostile().blocks, *rising().blocks,
                  Group(title=f"group {looks[0]}", tiles=(Tile(name="a", value=1),)),
                  Log(title="log", entries=(entry,)))  # fmt: skip
        return State(status=f"look {looks[0]}", headline=str(looks[0]), blocks=blocks)

    with serving(create("Page", source, prefix="x", every_s=0.05)) as server:
        page = opened(server.url)
        memory = page.context.new_cdp_session(page)

        def held():
            memory.send("HeapProfiler.collectGarbage")
            return memory.send("Memory.getDOMCounters")

        def seen():
            return int(page.inner_text(".headline"))

        until(page, lambda: seen() > 20)
        first, begun = held(), seen()
        until(page, lambda: seen() > begun + 60)
        last = held()
        assert last["nodes"] < 1.5 * first["nodes"]
        assert last["jsEventListeners"] < 1.5 * first["jsEventListeners"]
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
