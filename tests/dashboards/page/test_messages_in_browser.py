"""What the server answers to a click: how many messages, with what in them."""

import json
import re

import pytest

pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Line:
    """What goes over a page's line to the server, message by message."""

    def __init__(self):
        self._frames = []
        self.came = []
        self.asked = []

    def follow(self, socket):
        socket.on("framereceived", self._receive)
        socket.on("framesent", self._send)

    def _send(self, frame):
        self.asked += re.findall(r'\["type","(\w+)"\]', frame)

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

    def rest(self):
        """Wait for what was begun, and forget it."""
        n_seen = -1
        while n_seen < (n_seen := len(self.came) + len(self.asked)):
            self.page.wait_for_timeout(700)
        self.came.clear()
        self.asked.clear()


@pytest.fixture
def listen(visit):
    """Return a function that loads a page and gives its line."""
    line = Line()

    def load(address, query=""):
        line.page = visit(address, query, on_socket=line.follow)
        line.rest()
        return line

    return load


@pytest.fixture
def line(listen, finished_address):
    return listen(finished_address)


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
    line.rest()

    line.page.locator(".confusion-cell:not(:disabled)").first.click()

    wait_for(line, "sentence", nth=1)
    asked, counted = line.changed
    assert "search" in asked
    assert sorted(counted) == ["is_loading", "is_loading", "sentence"]


def test_step_back__changes_list_and_facts_with_one_message(line):
    line.page.locator(".row[data-class='6']").click()
    wait_for(line, "order")
    line.page.wait_for_url("**class=6**")
    line.rest()

    line.page.go_back()

    assert {"chosen", "order", "focus", "facts"} <= {*wait_for(line, "order")}


def test_map__of_another_class_comes_without_being_asked_for(listen, finished_address):
    line = listen(finished_address, "?view=map")
    line.page.wait_for_selector("canvas.instance-points[data-seen]")
    line.rest()

    line.page.locator(".row[data-class='6']").click()

    wait_for(line, "shown")
    line.page.wait_for_timeout(700)
    assert "look" not in line.asked
    assert line.page.locator("canvas.instance-points").get_attribute("data-seen")


def test_graph__comes_with_the_numbers_of_the_pinned_channel(listen, graph_address):
    line = listen(graph_address, "?view=graph&class=6")
    line.page.locator(".node:not(.output)").first.click()
    wait_for(line, "pinned")
    line.page.mouse.move(5, 5)
    line.rest()

    line.page.locator(".row[data-class='5']").click()

    assert "graph" in wait_for(line, "graph")
    line.page.wait_for_timeout(700)
    assert "numbers" not in line.asked


def test_neurons__of_another_class_are_sent_once(listen, finished_address):
    line = listen(finished_address, "?view=channels&matrix=open")

    line.page.locator(".row[data-class='6']").click()

    wait_for(line, "layer_0")
    line.page.wait_for_timeout(700)
    names = [name for names in line.changed for name in names]
    assert names.count("layer_0") == 1
