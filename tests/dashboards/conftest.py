"""A page in a browser, on which nothing may go wrong."""

from __future__ import annotations

import re

import pytest

from tests.dashboards.selections import choose


@pytest.fixture
def selection(results):
    """Return what a visitor of a finished run without influences has chosen."""
    return choose(results)


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; what goes wrong on it fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    wrong = []

    def open_page(address, query=""):
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                wrong.append(f"console: {message.text}")
                if message.type == "error"
                else None
            ),
        )
        local = re.compile(rf"(https?|ws)://{re.escape(address)}/|data:|blob:")
        page.on(
            "request",
            lambda request: (
                None
                if local.match(request.url)
                else wrong.append(f"request: {request.url}")
            ),
        )
        page.goto(f"http://{address}/{query}")
        page.wait_for_selector(".panel", timeout=30_000)
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        return page

    yield open_page
    context.close()
    assert wrong == []
