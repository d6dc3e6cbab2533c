"""The page itself: one text with its style and its script, and what it may do."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files

__all__ = ["page"]


def page(title: str) -> tuple[str, str]:
    """Return the page and its content security policy.

    It may run the one script that stands in it, by its hash, and ask its own server.

    Args:
        title: of the page.

    Example:
        >>> "<title>a &lt;b&gt;</title>" in page("a <b>")[0]
        True
    """
    script, style = _asset("live.js"), _asset("live.css")
    shown = html.escape(title)
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{shown}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{shown}</h1><p id="status" role="status"></p>'
        '<p id="age" aria-live="off"></p></header>\n'
        "<main></main>\n<noscript>This page needs JavaScript.</noscript>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return text, policy


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _asset(name: str) -> str:
    return (files("trimtab.runtime.dashboard") / name).read_text(encoding="utf-8")
