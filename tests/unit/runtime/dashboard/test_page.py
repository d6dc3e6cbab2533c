"""The page as text, and what it is made of."""

import itertools
import math
import re

import numpy as np
import pytest

from trimtab.runtime.dashboard.page import ASSETS, POLICY, asset, page
from trimtab.runtime.dashboard.state import COLOURS

HOSTILE = "</title><script>alert(1)</script>"


def test_nothing_in_it_may_run_but_the_server_s_own():
    text = page("trimtab")
    tags = re.findall(r"<(?:script|style)[^>]*>", text)
    assert tags == ['<script type="module" src="live.js">']
    assert not re.search(r"\bon\w+=|style=", text)
    assert "unsafe" not in POLICY
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in POLICY


def test_it_names_no_other_place_and_all_it_asks_for_is_there():
    whole = page("trimtab") + "".join(map(asset, ASSETS))
    found = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"']*""", whole)
    assert set(found) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write", whole)
    asked = re.findall(r"""(?:src=|href=|from )"(?:\./)?([\w.]+)\"""", whole)
    assert set(asked) == set(ASSETS)


def test_a_title_is_text():
    text = page(HOSTILE)
    assert HOSTILE not in text
    assert "&lt;/title&gt;" in text


# Colours as colour-blind people see them: the matrices of Machado, Oliveira and
# Fernandes (2009) at full severity, on linear RGB; distances in CIELAB.

SEEN = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
               (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                 (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                (0.004733, 0.691367, 0.303900)),
}  # fmt: skip


def linear(colour):
    """Return linear RGB of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def lab(rgb):
    """Return CIELAB of linear RGB, white of D65."""
    rows = (
        (0.4124, 0.3576, 0.1805),
        (0.2126, 0.7152, 0.0722),
        (0.0193, 0.1192, 0.9505),
    )
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) for row in rows]
    parts = [
        max(v, 0) / white for v, white in zip(xyz, (0.95047, 1, 1.08883), strict=True)
    ]
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in parts)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def luminance(colour):
    """Return that of ``#rrggbb``, as WCAG has it."""
    return sum(
        a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True)
    )


def contrast(first, second):
    """Return the contrast of two colours, as WCAG has it."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def theme(dark):
    """Return the variables of a theme."""
    light, _, rest = asset("live.css").partition("@media (prefers-color-scheme: dark)")
    text = rest.split("\n}\n", 1)[0] if dark else light
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("seen", SEEN)
def test_colour_blind_people_tell_figures_apart(dark, seen):
    found = theme(dark)
    colours = [found[f"c{index}"] for index in range(COLOURS)]
    assert f"c{COLOURS}" not in found
    places = [
        lab([min(1.0, max(0.0, np.dot(row, linear(each)))) for row in SEEN[seen]])
        for each in colours
    ]
    assert min(math.dist(a, b) for a, b in itertools.combinations(places, 2)) > 20


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_drawn_and_written_stands_out(dark):
    found = theme(dark)
    for index in range(COLOURS):
        assert contrast(found[f"c{index}"], found["card"]) >= 3  # WCAG 1.4.11
    for name in ("ink", "soft", "good", "warn", "bad"):
        assert contrast(found[name], found["card"]) >= 4.5  # WCAG 1.4.3
        assert contrast(found[name], found["page"]) >= 4.5
    for name in ("good", "warn", "bad"):
        assert contrast(found[name], found[f"{name}-back"]) >= 4.5
    on = dict(
        re.findall(r"\.c(\d) \{ --own: var\(--c\d\); --on: ([^;]+);", asset("live.css"))
    )
    assert len(on) == COLOURS
    for index, text in on.items():
        named = found["on-deep"] if text.startswith("var") else text
        assert contrast(named, found[f"c{index}"]) >= 4.5
