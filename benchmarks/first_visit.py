"""How long does a first visitor wait, and for how many bytes? In a Chromium.

Serves a store, opens its page as a first visitor does, and opens it again with what the
browser has kept. All bytes pass a relay that counts them, so that what is compressed
counts as what it weighs. The same browser opens a page of Panel with one word on it,
which loads the same libraries: what that takes, no page of theirs is without. What
clicks cost is measured by ``interactions.py``.

    python benchmarks/first_visit.py RUN.zarr
    python benchmarks/first_visit.py RUN.zarr --json seen.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from benchmarks.environment import describe_machine  # noqa: E402
from benchmarks.interactions import find_chromium, processor_seconds  # noqa: E402

WAIT_MS = 30_000
QUIET_S = 0.25
"""So long nothing more has to come before bytes are counted."""

VISITS = ("first visit", "second visit")
EMPTY = "first visit of an empty page"

READY = "document.documentElement.dataset.ready === 'yes'"
DRAWN = ".graph-panel[data-subset]"

ONE_WORD = """
import sys
import panel as pn
from panel.custom import JSComponent

class Word(JSComponent):
    _esm = "export function render() { return document.createTextNode('nothing') }"

def page():
    template = pn.Template(
        "{% extends base %}{% block contents %}{{ embed(roots.word) }}{% endblock %}"
    )
    template.add_panel("word", Word())
    return template

server = pn.io.server.get_server(
    page, address="127.0.0.1", port=0, websocket_origin=[sys.argv[1]]
)
server.start()
print(f"at http://127.0.0.1:{server.port}/", flush=True)
server.io_loop.start()
"""
ONE_WORD_READY = "window.Bokeh?.documents?.[0]?.is_idle"


class Relay:
    """Passes connections on to a port, and counts what comes back."""

    def __init__(self) -> None:
        self.port_behind = 0
        self.n_bytes = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listening.accept()
            far = socket.create_connection(("127.0.0.1", self.port_behind))
            for source, sink, is_answer in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._pass, args=(source, sink, is_answer), daemon=True
                ).start()

    def _pass(
        self, source: socket.socket, sink: socket.socket, is_answer: bool
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                if is_answer:
                    self.n_bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()


def serve(store: str, relay: Relay) -> tuple[subprocess.Popen[str], dict[str, float]]:
    """Start the server; returns it with what that took until it answered."""
    options = ("--no-token", "--allow-origin", f"127.0.0.1:{relay.port}")
    return _start(relay, "-m", "nnviz_dashboards", store, *options)


def _start(
    relay: Relay, *arguments: str
) -> tuple[subprocess.Popen[str], dict[str, float]]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "dashboards")]),
        },
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            relay.port_behind = int(
                line.split("http://")[1].split()[0].strip("/").split(":")[1]
            )
            break
    started = {
        "seconds": time.perf_counter() - began,
        "seconds of a core": processor_seconds(process.pid),
    }
    return process, started


def _settle(page: Any, relay: Relay) -> None:
    """Wait until no more bytes come."""
    before = -1
    while before != relay.n_bytes:
        before = relay.n_bytes
        page.wait_for_timeout(1000 * QUIET_S)


def measure(store: str) -> dict[str, Any]:
    """Serve a store, and visit it twice; then an empty page."""
    relay = Relay()
    process, started = serve(store, relay)
    try:
        with _chromium() as browser:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            visits = {
                name: _open(browser, page, relay, process.pid, READY, DRAWN)
                for name in VISITS
            }
    finally:
        process.terminate()
        process.wait(timeout=30)
    return {
        "store": Path(store).name,
        "start": started,
        **visits,
        EMPTY: measure_empty(),
        "machine": describe_machine(),
    }


def measure_empty() -> dict[str, float]:
    """Visit a page of the same libraries with one word on it."""
    relay = Relay()
    process, _ = _start(relay, "-c", ONE_WORD, f"127.0.0.1:{relay.port}")
    try:
        with _chromium() as browser:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            return _open(browser, page, relay, process.pid, ONE_WORD_READY)
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=arguments
        )
        yield browser
        browser.close()


def _browser_seconds(browser: Any) -> float:
    """Return what all of a browser's processes that are running have used so far."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(one["cpuTime"] for one in processes)


def _open(
    browser: Any, page: Any, relay: Relay, pid: int, is_ready: str, drawn: str = ""
) -> dict[str, float]:
    used, before = processor_seconds(pid), relay.n_bytes
    browser_used = _browser_seconds(browser)
    began = time.perf_counter()
    page.goto(f"http://127.0.0.1:{relay.port}/", timeout=WAIT_MS)
    page.wait_for_function(is_ready)
    ready = time.perf_counter() - began
    if drawn:
        page.wait_for_selector(drawn, timeout=WAIT_MS)
    _settle(page, relay)
    paint = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    return {
        "ms to the first paint": float(paint or float("nan")),
        "ms until it answers": 1000 * ready,
        "kB": (relay.n_bytes - before) / 1000,
        "seconds of a core": processor_seconds(pid) - used,
        "seconds of a core, browser": _browser_seconds(browser) - browser_used,
    }


def main() -> None:
    """Measure one store and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="URL of a store with graphs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.store)
    for title in ("start", *VISITS, EMPTY):
        told = ", ".join(f"{value:,.2f} {name}" for name, value in found[title].items())
        print(f"{title}: {told}")
    first, empty = (found[title] for title in (VISITS[0], EMPTY))
    for name in ("ms until it answers", "seconds of a core, browser"):
        print(f"{name}, of an empty page's: {first[name] / empty[name]:.2f}")
    print(f"load: {os.getloadavg()[0]:.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
