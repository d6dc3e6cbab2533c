"""What the theory says, worked out in one dimension, and a picture of each.

python -m benchmarks.relax.theory
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from trimtab.bundle.section import Line, Section, Series
from trimtab.relax.control import averaged, least_cost, steered
from trimtab.relax.pde import Floats, cole_hopf, heat, hopf_lax
from trimtab.report.html import render

__all__ = ["draw", "main"]

FIGURES: Final = Path(__file__).parent / "figures"

STARTS: Final = (-2.2, 2.0, 0.9)
SPEEDS: Final = (0.4, 0.2, 0.1, 0.05, 0.025, 0.0125)
_BETA: Final = 4.0


def _f(x: Floats) -> Floats:
    return x**2 / 2 + 0.75 * np.sin(2 * np.pi * x)


def _slope(x: Floats) -> Floats:
    return x + 1.5 * np.pi * np.cos(2 * np.pi * x)


def _theory() -> dict[str, Any]:
    x = np.linspace(-3.5, 3.5, 2801)
    times, values = least_cost(_slope, _f, x, t=0.5, beta=_BETA)
    control = {}
    for start in STARTS:
        found = steered(
            _slope, _f, start, times=times, values=values, x=x, beta=_BETA,
            paths=40_000, steps=1_000,
        )  # fmt: skip
        least = float(np.interp(start, x, values[-1]))
        control[str(start)] = {"least": least, **asdict(found)}
        print(f"  from {start}: gain {found.gain:.4f}", file=sys.stderr)
    grid = np.linspace(-9, 9, 3601)
    fast = {}
    for eps in SPEEDS:
        each = averaged(
            _f, _slope, 2.0, eps=eps, t=0.5, beta=1.0, grid=grid, paths=2_000
        )
        fast[str(eps)] = asdict(each)
        print(f"  speed {eps}: rms {each.rms:.3f}", file=sys.stderr)
    used = [eps for eps in SPEEDS if eps <= 0.2]
    rate = np.polyfit(np.log(used), np.log([fast[str(eps)]["rms"] for eps in used]), 1)[
        0
    ]
    return {"control": control, "fast": fast, "rate": float(rate)}


def draw(found: dict[str, Any]) -> str:
    """Draw landscapes and the fast inner loop as trimtab's reports do, into PNG.

    Returns:
        Why nothing was drawn; empty if it was.
    """
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        return "figures are drawn by Chromium and Playwright, which are not here"
    section = Section(
        name="theory",
        title="Relaxations in one dimension",
        text="",
        figures=(*_landscapes(), _fast(found)),
    )
    page = render("Theory", [section], [], {}, "")
    FIGURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder) / "theory.html"
        path.write_text(page, "utf-8")
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 1000, "height": 800})
        view.goto(path.as_uri())
        for number, name in enumerate(("entropy", "hopf-lax", "heat", "fast")):
            figure = view.locator("figure").nth(number)
            figure.scroll_into_view_if_needed()
            view.wait_for_timeout(500)
            figure.screenshot(path=FIGURES / f"{name}.png")
        browser.close()
    return ""


def _landscapes() -> list[Series]:
    """Return a wide and a narrow minimum under each equation, as time goes on."""
    y = np.linspace(-6, 6, 4001)
    x = np.linspace(-2.2, 2.2, 441)
    # The narrow one is a little lower.
    f = np.minimum(np.minimum(0.4 * (y + 1) ** 2, 12.0 * (y - 1) ** 2 - 0.35), 4.0)
    ways: dict[str, Callable[[float], Floats]] = {
        "Local entropy": lambda t: cole_hopf(f, [y], t=t, beta=2.0, at=[x]),
        "Hopf-Lax": lambda t: hopf_lax(f, [y], t=t, at=[x]),
        "Heat": lambda t: heat(f, [y], t=t, beta=2.0, at=[x]),
    }
    places = tuple(map(float, x))
    first = Line(name="t = 0", x=places, y=tuple(map(float, np.interp(x, y, f))))
    return [
        Series(
            title=f"{name}, beta = 2",
            x_title="weight",
            y_title="relaxed loss u(x, t)",
            lines=(
                first,
                *(
                    Line(name=f"t = {t:g}", x=places, y=tuple(map(float, way(t))))
                    for t in (0.02, 0.1, 0.4)
                ),
            ),
        )
        for name, way in ways.items()
    ]


def _fast(found: dict[str, Any]) -> Series:
    speeds = tuple(float(each) for each in found["fast"])
    rms = tuple(float(each["rms"]) for each in found["fast"].values())
    start = max(speeds)
    first = found["fast"][str(start)]["rms"]
    return Series(
        title="A fast inner loop nears the path of local entropy",
        x_title="speed eps of the inner loop",
        y_title="rms distance of the iterate",
        x_scale="log",
        y_scale="log",
        lines=(
            Line(
                name=f"rms, power {found['rate']:.2f}", x=speeds, y=rms,
                mode="lines+markers",
            ),
            Line(
                name="square root",
                x=speeds,
                y=tuple(first * math.sqrt(eps / start) for eps in speeds),
            ),
        ),
    )  # fmt: skip


def main() -> None:
    """Work it out; print the result."""
    print(json.dumps(_theory()))


if __name__ == "__main__":
    main()
