"""A page in a browser, on which nothing may go wrong."""

from __future__ import annotations

import contextlib
import re

import pytest

from tests.dashboards.selections import choose
from tests.dashboards.served_pages import served

SIZE = {"width": 1440, "height": 900}


@pytest.fixture
def selection(results):
    """Return what a visitor of a finished run without influences has chosen."""
    return choose(results)


@pytest.fixture(scope="session")
def finished_address(finished_url):
    """Return where the page of a finished run without influences is served."""
    with served(finished_url) as (_, address):
        yield address


@pytest.fixture(scope="session")
def graph_address(graph_url):
    """Return where the page of a finished run with influences is served."""
    with served(graph_url) as (_, address):
        yield address


class Visits:
    """Opens pages one after the other; most of what a page costs is a new window."""

    def __init__(self, context):
        self._context = context
        self._kept = []
        self._host = ""
        self.wrong = []

    def open_page(self, address, query=""):
        page = next((page for page in self._kept if page.url == "about:blank"), None)
        self._host = re.escape(address)
        if page is None:
            page = self._context.new_page()
            self._watch(page)
            self._kept.append(page)
        page.goto(f"http://{address}/{query}")
        page.wait_for_selector(".panel", timeout=30_000)
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        return page

    def _watch(self, page):
        def on_error(error):
            self.wrong.append(f"error: {error}")

        def on_message(message):
            if message.type == "error":
                self.wrong.append(f"console: {message.text}")

        def on_request(request):
            local = re.compile(rf"(https?|ws)://{self._host}/|data:|blob:|about:")
            if not local.match(request.url):
                self.wrong.append(f"request: {request.url}")

        page.on("pageerror", on_error)
        page.on("console", on_message)
        page.on("request", on_request)

    def leave(self):
        """Make the window what a new one is, for the next test."""
        self._kept = [page for page in self._kept if not page.is_closed()]
        for page in self._kept[1:]:
            page.close()
        del self._kept[1:]
        for page in self._kept:
            page.mouse.move(0, 0)
            page.evaluate("localStorage.clear()")
            page.goto("about:blank")
            page.set_viewport_size(SIZE)
        self._context.clear_cookies()


@pytest.fixture(scope="session")
def _visits(browser):
    with contextlib.closing(browser.new_context(viewport=SIZE)) as context:
        yield Visits(context)


@pytest.fixture
def visit(_visits):
    """Return a function that opens a page; what goes wrong on it fails the test."""
    _visits.wrong.clear()
    yield _visits.open_page
    _visits.leave()
    assert _visits.wrong == []
