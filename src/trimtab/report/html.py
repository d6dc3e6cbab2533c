"""Sections of a bundle as one HTML file that needs no network.

The page carries plotly.js once and draws each figure from JSON. Names come from
untrusted files: every text is escaped, and a content security policy lets only the two
scripts of this module run, by their hash, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import count
from typing import Any, Final

from trimtab.bundle.section import (
    Bars,
    Figure,
    Heatmap,
    Section,
    Series,
    Table,
    Waterfall,
)
from trimtab.cost.verdict import Verdict
from trimtab.errors import MissingExtraError
from trimtab.report.axes import cell_text, escape
from trimtab.report.figures import (
    COLOURS,
    DASHES,
    bars,
    heatmap,
    series,
    table,
    waterfall,
)

__all__ = ["render"]

_TALL: Final = 900  # pixels: a higher figure scrolls in a box of its own
_LONG: Final = 30  # rows: a longer table may break over printed pages
_CSS_DASHES: Final = dict(zip(DASHES, ("solid", "dashed", "dotted"), strict=True))


def render(
    title: str,
    sections: Sequence[Section],
    verdicts: Sequence[Verdict],
    facts: Mapping[str, str],
    machine: str,
) -> str:
    """Return the report as HTML; the same arguments give the same text.

    Args:
        title: heading of the page.
        sections: the chapters, in order.
        verdicts: one per limit of the budget; none where there is no budget.
        facts: names and values shown at the top, such as network, versions, seed.
        machine: the machine that the numbers hold for, named with every figure.

    Raises:
        UsageError: a figure whose parts do not fit together.
        MissingExtraError: there is a figure to draw, and plotly is not installed.

    Example:
        >>> page = render("Run", [], [], {"seed": "0"}, "laptop")
        >>> "<dt>seed</dt><dd>0</dd>" in page
        True
    """
    numbers = count(1)
    chapters = "".join(
        _chapter(f"section-{index}", section, machine, numbers)
        for index, section in enumerate(sections, 1)
    )
    scripts = [_plotly_js(), _asset("page.js")] if 'class="plot"' in chapters else []
    if not sections:
        chapters = '<p class="empty">No stage has written a section.</p>'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('style.css')}</style>\n"
        '</head>\n<body>\n<div class="page">\n'
        f"<header>\n<h1>{escape(title)}</h1>\n"
        f'<p class="machine">{escape(machine)}</p>\n{_facts(facts)}</header>\n'
        f"{_contents(sections, verdicts)}"
        f"<main>\n{_verdicts(verdicts, machine)}{chapters}</main>\n"
        "<footer>Written by trimtab. This file needs no network.</footer>\n</div>\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body>\n</html>\n"
    )


def _facts(facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{pairs}</dl>\n"


def _contents(sections: Sequence[Section], verdicts: Sequence[Verdict]) -> str:
    entries = [("verdict", "Verdict")] if verdicts else []
    entries += [
        (f"section-{index}", section.title) for index, section in enumerate(sections, 1)
    ]
    items = "".join(
        f'<li><a href="#{target}">{escape(text)}</a></li>' for target, text in entries
    )
    if not items:
        return "<nav></nav>\n"
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{items}</ol></nav>\n'


def _verdicts(verdicts: Sequence[Verdict], machine: str) -> str:
    """Return the budget as a table, each verdict as a word and a colour."""
    if not verdicts:
        return ""
    broken = [verdict.name for verdict in verdicts if not verdict.fits]
    if broken:
        summary, mark = f"Does not fit: {', '.join(broken)}", "broken"
    else:
        limits = "the limit" if len(verdicts) == 1 else f"all {len(verdicts)} limits"
        summary, mark = f"Fits {limits}", "fits"
    rows = "".join(
        f"<tr><td><code>{escape(each.name)}</code></td>"
        f'<td class="number">{escape(cell_text(each.value, each.unit))}</td>'
        f'<td class="number">{"at least" if each.at_least else "at most"} '
        f"{escape(cell_text(each.limit, each.unit))}</td>"
        f'<td class="number">{escape(cell_text(each.slack, each.unit))}</td>'
        f"<td>{_badge(each)}</td></tr>"
        for each in verdicts
    )
    head = '<th scope="col">quantity</th>' + "".join(
        f'<th scope="col" class="number">{name}</th>'
        for name in ("value", "limit", "slack")
    )
    return (
        '<section id="verdict"><h2>Verdict</h2>'
        f'<p class="verdict {mark}">{escape(summary)}</p>'
        f"<figure>{_caption('Budget', machine)}{_scrolling('Budget')}"
        f'<table><thead><tr>{head}<th scope="col">fits</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></figure></section>\n"
    )


def _badge(verdict: Verdict) -> str:
    if verdict.fits:
        return '<span class="verdict fits">✓ fits</span>'
    return '<span class="verdict broken">✗ does not fit</span>'


def _chapter(anchor: str, section: Section, machine: str, numbers: count[int]) -> str:
    text = section.text.replace("\r\n", "\n").split("\n\n")
    paragraphs = "".join(
        f"<p>{escape(each.strip())}</p>" for each in text if each.strip()
    )
    drawn = "\n".join(
        _figure(figure, machine, f"figure-{next(numbers)}")
        for figure in section.figures
    )
    return (
        f'<section id="{anchor}"><h2>{escape(section.title)}</h2>\n'
        f"{paragraphs}\n{drawn}</section>\n"
    )


def _figure(figure: Figure, machine: str, anchor: str) -> str:
    caption = _caption(figure.title, machine)
    match figure:
        case Table():
            content = table(figure)
            long = ' class="long"' if len(figure.rows) > _LONG else ""
            if not figure.rows:
                content += '<p class="empty">No rows.</p>'
            return (
                f"<figure{long}>{caption}{_scrolling(figure.title)}"
                f"{content}</div></figure>"
            )
        case Series():
            empty = not any(line.x for line in figure.lines)
            spec, names = series(figure), [line.name for line in figure.lines]
        case Bars():
            empty = not figure.labels or not figure.parts
            spec, names = bars(figure), [name for name, _ in figure.parts]
        case Heatmap():
            empty = not figure.x or not figure.y
            spec, names = heatmap(figure), []
        case Waterfall():
            empty = not figure.steps
            spec, names = waterfall(figure), []
    if empty:
        return f'<figure>{caption}<p class="empty">No values to draw.</p></figure>'
    tall = spec["layout"]["height"] > _TALL
    marks = ' class="tall" tabindex="0"' if tall else ""
    long = ' class="long"' if tall else ""
    return (
        f"<figure{long}>{caption}"
        f"{_legend(names, blocks=isinstance(figure, Bars))}"
        f'<div{marks}><div class="plot" role="img" data-figure="{anchor}" '
        f'aria-label="{escape(figure.title)}"></div></div>'
        "<noscript>This figure needs JavaScript.</noscript>"
        f'<script type="application/json" id="{anchor}">{_json(spec)}</script></figure>'
    )


def _caption(title: str, machine: str) -> str:
    named = f'<span class="machine">{escape(machine)}</span>' if machine else ""
    return f"<figcaption>{escape(title)}{named}</figcaption>"


def _scrolling(label: str) -> str:
    """Return the start of a box that scrolls sideways, by keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
    )


def _legend(names: Sequence[str], *, blocks: bool) -> str:
    """Return the names beside their colours; HTML, because it wraps on a phone."""
    if len(names) < 2:
        return ""
    kind = "swatch block" if blocks else "swatch"
    items = "".join(
        f'<li><span class="{kind}" style="--colour:{COLOURS[index % len(COLOURS)]};'
        f'--dash:{_CSS_DASHES[DASHES[index // len(COLOURS) % len(DASHES)]]}">'
        f"</span>{escape(name)}</li>"
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _json(value: dict[str, Any]) -> str:
    """Return JSON that no HTML parser finds a tag in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(scripts: Sequence[str]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    hashes = hashes or "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _asset(name: str) -> str:
    return (files("trimtab.report") / name).read_text(encoding="utf-8")


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtraError(
            "a report with figures",
            rule="plotly, which draws them, is not installed",
            remedy='install it with: pip install "trimtab[report]"',
        ) from None
    # A hash is over the text that the browser sees: line ends are \n there.
    text: str = get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
    return text
