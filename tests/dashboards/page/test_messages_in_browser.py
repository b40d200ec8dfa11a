"""What the server answers to a click: how many messages, with what in them."""

import json

import pytest

pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Line:
    """What goes over a page's line to the server, message by message."""

    def __init__(self):
        self._frames = []
        self.came = []

    def follow(self, socket):
        socket.on("framereceived", self._receive)

    def _receive(self, frame):
        # A message is a header, a frame that is always empty here, and its content.
        self._frames.append(frame)
        if len(self._frames) == 3:
            header, _, content = map(json.loads, self._frames)
            self._frames = []
            self.came.append((header["msgtype"], content))

    @property
    def changed(self):
        """Names of what each message changes, of those that change something."""
        return [
            [event["attr"] for event in content["events"] if "attr" in event]
            for kind, content in self.came
            if kind == "PATCH-DOC"
        ]


@pytest.fixture
def line(visit, finished_address):
    line = Line()
    page = visit(finished_address)
    page.on("websocket", line.follow)
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    page.wait_for_selector(".channel-row")
    page.wait_for_timeout(500)  # in which what was begun arrives
    line.page = page
    line.came.clear()
    yield line
    page.remove_listener("websocket", line.follow)


def wait_for(line, name, *, nth=0):
    for _ in range(400):
        found = [names for names in line.changed if name in names]
        if len(found) > nth:
            return found[nth]
        line.page.wait_for_timeout(25)
    pytest.fail(f"no message has {name!r}; {line.changed}")


def test_class__chosen_changes_list_facts_and_address_with_one_message(line):
    line.page.locator(".row[data-class='6']").click()

    assert {"chosen", "order", "focus", "facts", "search"} <= {*wait_for(line, "order")}


def test_confusion__counted_later_comes_with_one_message(line):
    line.page.locator(".segment[data-view='confusions']").click()
    line.page.wait_for_selector(".confusion-cell:not(:disabled)")
    line.page.wait_for_timeout(500)
    line.came.clear()

    line.page.locator(".confusion-cell:not(:disabled)").first.click()

    wait_for(line, "sentence", nth=1)
    asked, counted = line.changed
    assert "search" in asked
    assert sorted(counted) == ["is_loading", "is_loading", "sentence"]


def test_step_back__changes_list_and_facts_with_one_message(line):
    line.page.locator(".row[data-class='6']").click()
    wait_for(line, "order")
    line.page.wait_for_url("**class=6**")
    line.page.wait_for_timeout(500)
    line.came.clear()

    line.page.go_back()

    assert {"chosen", "order", "focus", "facts"} <= {*wait_for(line, "order")}
