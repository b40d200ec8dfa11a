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


# What a visitor may have left that no address names; shadow roots hide most of it.
TIDY = """() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
  for (let n = document.activeElement; n; n = n.shadowRoot?.activeElement) n.blur()
  for (const n of all(document)) {
    if (n.matches("details[open]")) n.open = false
    if (n.scrollTop || n.scrollLeft) n.scrollTo(0, 0)
  }
}"""

# The server answers an address that it would not write with the one that it would, and
# with all that it changes on the page before.
CHOOSE = """(query) => {
  history.replaceState({step: 0}, "", location.pathname + query)
  dispatchEvent(new PopStateEvent("popstate"))
}"""


class Visits:
    """Opens pages one after the other; most of what a test costs is to load one."""

    def __init__(self, context):
        self._context = context
        self._kept = []
        self._host = ""
        self._stays = False
        self._motion = {}
        self.wrong = []

    def let_move(self, moves):
        """Say whether pages move as for most visitors, or as for those who mind it."""
        self._motion = {"reduced_motion": "no-preference" if moves else "reduce"}
        for page in self._kept:
            page.emulate_media(**self._motion)

    def open_page(self, address, query=""):
        """Load a page, in the window of the last test if that has none any more."""
        if self._stays:
            self._clear()
        page = next((page for page in self._kept if page.url == "about:blank"), None)
        self._host = re.escape(address)
        if page is None:
            page = self._context.new_page()
            page.emulate_media(**self._motion)
            self._watch(page)
            self._kept.append(page)
        page.goto(f"http://{address}/{query}")
        page.wait_for_selector(".panel", timeout=30_000)
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        return page

    def turn_page(self, address, query=""):
        """Return the page that the last test left here, or a new one, as it opens.

        Only what is chosen is what a new page has. A test that leaves something else
        behind, as another zoom, opens a page of its own.
        """
        if self._stays and self._kept[0].url.startswith(f"http://{address}/"):
            page = self._kept[0]
            page.evaluate(TIDY)
            page.evaluate(CHOOSE, f"{query or '?'}&turned=yes")
            page.wait_for_url(lambda url: "turned=" not in url)
        else:
            page = self.open_page(address, query)
        self._stays = True
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

    def leave(self, *, has_failed):
        """Make the window what the next test may have."""
        self._kept = [page for page in self._kept if not page.is_closed()]
        for page in self._kept[1:]:
            page.close()
        del self._kept[1:]
        for page in self._kept:
            page.mouse.move(0, 0)
            page.set_viewport_size(SIZE)
        if has_failed or not self._kept:
            self._stays = False
        if not self._stays:
            self._clear()

    def _clear(self):
        self._stays = False
        for page in self._kept:
            page.evaluate("localStorage.clear()")
            page.goto("about:blank")
        self._context.clear_cookies()
        self.wrong.clear()


@pytest.fixture(scope="session")
def _visits(browser):
    with contextlib.closing(browser.new_context(viewport=SIZE)) as context:
        yield Visits(context)


@pytest.fixture
def _visitor(_visits, request):
    failed = request.session.testsfailed
    # A quarter of what tests in a browser cost was to draw the frames of movements, so
    # that only those move which look at more than one choice, or at a movement.
    _visits.let_move(request.node.get_closest_marker("moving") is not None)
    yield _visits
    wrong = [*_visits.wrong]
    _visits.leave(has_failed=request.session.testsfailed > failed or wrong != [])
    _visits.wrong.clear()
    assert wrong == []


@pytest.fixture
def visit(_visitor):
    """Return a function that loads a page; what goes wrong on it fails the test."""
    return _visitor.open_page


@pytest.fixture
def turn(_visitor):
    """Return a function like ``visit`` that goes on with the page of the last test."""
    return _visitor.turn_page
