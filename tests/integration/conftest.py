"""Fixtures of the integration tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def chromium_page() -> Iterator[Page]:
    """Return an empty page of a headless Chromium with a profile of its own.

    One browser per test: playwright keeps an event loop running in this thread while
    it is open, and tests of asynchronous code must not find one.
    """
    api = pytest.importorskip(
        "playwright.sync_api",
        reason="playwright is missing: pip install playwright (extra `dev`)",
    )
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium, or the like")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=list(_SWITCHES)
        )
        try:
            yield browser.new_page()
        finally:
            browser.close()  # ends the processes and removes the profile
