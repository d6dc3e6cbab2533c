"""A report of all kinds of figures, looked at by a real browser."""

import math

import pytest

from trimtab.bundle.section import (
    Bars,
    Figure,
    Heatmap,
    Line,
    Section,
    Series,
    Table,
    Waterfall,
)
from trimtab.cost.verdict import Verdict
from trimtab.report.html import render

pytestmark = [pytest.mark.browser, pytest.mark.integration]

LAYERS = tuple(f"features.denseblock{row}.denselayer{row}.conv2" for row in range(18))
HOSTILE = "</script><script>document.title='broken'</script><img src=http://x.invalid>"
PLOTS = 7


def _figures() -> tuple[Figure, ...]:
    sizes = (1, 2, 4, 8, 16, 32, 64)
    return (
        Table(
            title="Layers",
            columns=("layer", "time", "share", "weights", "shape", "kind"),
            units=("", "s", "frac", "bytes", "", ""),
            rows=tuple((name, 1e-3, 0.1, 2**20, "1x64x56x56", "c") for name in LAYERS),
        ),
        Bars(
            title="Time",
            value_title="latency",
            value_unit="s",
            labels=LAYERS,
            parts=(("compute", (1e-3,) * 18), ("memory traffic", (5e-4,) * 18)),
        ),
        Bars(
            title="A long network",
            value_title="multiply-adds",
            labels=tuple(map(str, range(60))),
            parts=(("work", (1e6,) * 60),),
        ),
        Series(
            title="Latency",
            x_title="batch size",
            y_title="p95 latency",
            y_unit="s",
            x_scale="log",
            y_scale="log",
            lines=tuple(
                Line(
                    name=f"a device with the rather long name {row}",
                    x=sizes,
                    y=tuple(1e-3 * (row + size) for size in sizes),
                    mode="lines+markers",
                )
                for row in range(4)
            ),
        ),
        Heatmap(
            title="Devices",
            x_title="batch size",
            y_title="device",
            value_title="latency",
            value_unit="s",
            x=(1, 4, 16),
            y=("cpu", "gpu"),
            values=((1e-3, 2e-3, 4e-3), (1e-3, math.nan, 2e-3)),
        ),
        Heatmap(
            title="Correlation",
            x_title="layer",
            y_title="layer",
            value_title="correlation",
            x=LAYERS,
            y=LAYERS,
            values=tuple(tuple(math.cos(a - b) for a in range(18)) for b in range(18)),
        ),
        Waterfall(
            title="Savings",
            value_title="latency",
            value_unit="s",
            steps=("original", "fuse convolutions and activations", "copy"),
            values=(0.012, -0.009, 0.0004),
        ),
    )


@pytest.fixture
def report(tmp_path):
    """Return the address of a report of all kinds, with a hostile section."""
    pytest.importorskip("plotly", reason="plotly is missing: extra `report`")
    hostile = Series(
        title=HOSTILE,
        x_title=HOSTILE,
        y_title=HOSTILE,
        lines=(Line(name=HOSTILE, x=(1, 2), y=(1, 2), labels=(HOSTILE, HOSTILE)),),
    )
    sections = [
        Section(name="all", title="All kinds", text="One.\n\nTwo.", figures=_figures()),
        Section(name="bad", title=HOSTILE, text=HOSTILE, figures=(hostile,)),
    ]
    verdicts = [
        Verdict(name="latency_s", value=0.004, limit=0.005, unit="s"),
        Verdict(name="peak_bytes", value=9e6, limit=8e6, unit="bytes"),
    ]
    facts = {"network": "zoo:densenet121", "digest": "0123456789abcdef" * 4}
    path = tmp_path / "report.html"
    path.write_text(
        render("A run", sections, verdicts, facts, "a laptop"), encoding="utf-8"
    )
    return path.as_uri()


@pytest.fixture
def opened(chromium_page, report):
    """Return ``open(width)``: the drawn page; nothing may have gone wrong after all."""
    wrong: list[str] = []
    chromium_page.on("console", lambda message: wrong.append(message.text))
    chromium_page.on("pageerror", lambda error: wrong.append(str(error)))
    chromium_page.on(
        "request",
        lambda request: (
            None if request.url.startswith("file://") else wrong.append(request.url)
        ),
    )

    def opened(width, **media):
        chromium_page.set_viewport_size({"width": width, "height": 900})
        chromium_page.emulate_media(**media)
        chromium_page.goto(report)
        chromium_page.wait_for_selector("html[data-figures=drawn]", timeout=60_000)
        return chromium_page

    yield opened
    assert wrong == []


def _sizes(page):
    return page.evaluate(
        """() => Array.from(document.querySelectorAll(".plot"), (plot) => {
            const box = plot.querySelector("svg.main-svg").getBoundingClientRect();
            return [box.width, box.height];
        })"""
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_drawn_and_the_page_is_as_wide_as_the_window(opened, width):
    page = opened(width)
    sizes = _sizes(page)
    assert len(sizes) == PLOTS
    assert all(100 < w <= width and h > 100 for w, h in sizes)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == "A run"
    assert page.locator("img").count() == 0
    assert page.locator("section#section-2 h2").inner_text() == HOSTILE


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_of_a_figure_is_cut_off(opened, width):
    cut = opened(width).evaluate(
        """() => Array.from(document.querySelectorAll(".plot"), (plot) => {
            const outer = plot.getBoundingClientRect();
            return Array.from(plot.querySelectorAll(".main-svg text"))
                .filter((text) => text.textContent && !text.closest(".hoverlayer"))
                .filter((text) => {
                    const box = text.getBoundingClientRect();
                    return box.width && (box.left < outer.left - 2
                        || box.right > outer.right + 2 || box.top < outer.top - 2
                        || box.bottom > outer.bottom + 2);
                })
                .map((text) => text.textContent);
        }).flat()"""
    )
    assert [text for text in cut if not text.startswith("</script")] == []


def test_a_wide_table_scrolls_in_its_own_box(opened):
    scrolls = opened(390).evaluate(
        """() => Array.from(document.querySelectorAll(".scroll"),
            (box) => box.scrollWidth > box.clientWidth)"""
    )
    assert any(scrolls)


def test_dark_pages_have_light_texts(opened):
    page = opened(1280, color_scheme="dark")
    colours = page.evaluate(
        """() => [document.body, document.querySelector(".xtick text")]
            .map((each) => getComputedStyle(each))
            .flatMap((style) => [style.backgroundColor, style.color, style.fill])"""
    )
    background, ink, _, _, _, tick = colours
    assert background == "rgb(20, 23, 28)"
    assert tick == ink == "rgb(230, 232, 236)"


def test_a_window_made_narrow_draws_again(opened):
    page = opened(1280)
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function(
        """() => Array.from(document.querySelectorAll(".plot"))
            .every((plot) => plot.dataset.narrow === "true"
                && plot.querySelector(".main-svg").clientWidth < 390)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_printing_gives_pages_and_the_window_gets_its_figures_back(opened):
    page = opened(1280, color_scheme="dark")
    before = _sizes(page)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.wait_for_function(
        f"document.querySelector('.main-svg').clientWidth > {before[0][0] - 5}"
    )
    assert _sizes(page) == before
