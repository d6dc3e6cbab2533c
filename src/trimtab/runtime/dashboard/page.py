"""The page itself: a text, its style and its script, and what they may do."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Final

__all__ = ["ASSETS", "POLICY", "asset", "page"]

ASSETS: Final = {
    "live.css": "text/css",
    "live.js": "text/javascript",
    "figures.js": "text/javascript",
    "numbers.js": "text/javascript",
}
"""What a page is made of, and of which type it is."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A page runs what its own server has, nothing that stands in it, and asks nobody else;
the server says of all else it answers that it is no script."""


def page(title: str) -> str:
    """Return the page.

    Args:
        title: of the page.

    Example:
        >>> "<title>a &lt;b&gt;</title>" in page("a <b>")
        True
    """
    shown = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n<link rel="stylesheet" href="live.css">\n'
        '<script type="module" src="live.js"></script>\n'
        f"<title>{shown}</title>\n</head>\n<body>\n"
        f'<header><h1>{shown}</h1><p id="status"></p><p id="age">connecting …</p>'
        '</header>\n<p id="said" class="unseen" role="status"></p>\n'
        "<main></main>\n<noscript>This page needs JavaScript.</noscript>\n"
        "</body>\n</html>\n"
    )


def asset(name: str) -> str:
    """Return the text of one of `ASSETS`."""
    return (files("trimtab.runtime.dashboard") / name).read_text(encoding="utf-8")
