"""Pages in one browser window, test after test, on which nothing may go wrong."""

from __future__ import annotations

import re

SIZE = {"width": 1440, "height": 900}

# What a visitor may have left that no address names; shadow roots hide most of it.
TIDY = """() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
  for (let n = document.activeElement; n; n = n.shadowRoot?.activeElement) n.blur()
  for (const n of all(document)) {
    if (n.matches("details[open]")) n.open = false
    if (n.scrollTop || n.scrollLeft) n.scrollTo(0, 0)
    if (n.matches("[data-part=main]")) n.click()
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
        self._media = {}
        self._may_complain = False
        self._on_socket = None
        self.wrong = []

    def let_move(self, moves):
        """Say whether pages move as for most visitors, or as for those who mind it."""
        self._media = {
            "reduced_motion": "no-preference" if moves else "reduce",
            "color_scheme": "light",
        }
        for page in self._kept:
            page.emulate_media(**self._media)

    def open_page(
        self,
        address,
        query="",
        *,
        has_views=True,
        may_complain=False,
        on_socket=None,
    ):
        """Load a page, in the tab of the last test if that has none any more.

        Another tab costs more, and another window has to be drawn itself.

        Parameters
        ----------
        address, query
            What is loaded.
        has_views
            Whether to wait for them; a form or a message has none.
        may_complain
            Whether the browser may say that something could not be fetched.
        on_socket
            Called with the page's line to the server before anything goes over it.
        """
        self._may_complain = may_complain
        self._on_socket = on_socket
        if self._stays:
            self._clear()
        page = next((page for page in self._kept if page.url == "about:blank"), None)
        self._host = re.escape(address)
        if page is None:
            page = self._context.new_page()
            page.emulate_media(**self._media)
            self._watch(page)
            self._kept.append(page)
        page.goto(f"http://{address}/{query}")
        if has_views:
            page.wait_for_selector(".panel", timeout=60_000)
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
            if message.type == "error" and not self._may_complain:
                self.wrong.append(f"console: {message.text}")

        def on_request(request):
            local = re.compile(rf"(https?|ws)://{self._host}/|data:|blob:|about:")
            if not local.match(request.url):
                self.wrong.append(f"request: {request.url}")

        def on_dialog(dialog):
            self.wrong.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        def on_websocket(socket):
            if self._on_socket is not None:
                self._on_socket(socket)

        page.on("websocket", on_websocket)
        page.on("pageerror", on_error)
        page.on("dialog", on_dialog)
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
            if page.url != "about:blank":
                page.evaluate("localStorage.clear()")
                page.goto("about:blank")
        self._context.clear_cookies()
        self.wrong.clear()
