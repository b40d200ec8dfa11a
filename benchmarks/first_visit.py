"""How long does a first visitor wait, and for how many bytes? In a Chromium.

Serves a store, opens its page as a first visitor does, and opens it again with what the
browser has kept. All bytes pass a relay that counts them, so that what is compressed
counts as what it weighs. What clicks cost is measured by ``interactions.py``.

    python benchmarks/first_visit.py RUN.zarr
    python benchmarks/first_visit.py RUN.zarr --json seen.json
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
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
    began = time.perf_counter()
    options = ("--no-token", "--allow-origin", f"127.0.0.1:{relay.port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "nnviz_dashboards", store, *options],
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
    """Serve a store, and visit it twice."""
    from playwright.sync_api import sync_playwright

    relay = Relay()
    process, started = serve(store, relay)
    try:
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=arguments
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            visits = {name: _open(page, relay, process.pid) for name in VISITS}
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
    return {
        "store": Path(store).name,
        "start": started,
        **visits,
        "machine": describe_machine(),
    }


def _open(page: Any, relay: Relay, pid: int) -> dict[str, float]:
    used, before = processor_seconds(pid), relay.n_bytes
    began = time.perf_counter()
    page.goto(f"http://127.0.0.1:{relay.port}/", timeout=WAIT_MS)
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    ready = time.perf_counter() - began
    page.wait_for_selector(".graph-panel[data-subset]", timeout=WAIT_MS)
    _settle(page, relay)
    paint = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    return {
        "ms to the first paint": float(paint or float("nan")),
        "ms until it answers": 1000 * ready,
        "kB": (relay.n_bytes - before) / 1000,
        "seconds of a core": processor_seconds(pid) - used,
    }


def main() -> None:
    """Measure one store and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="URL of a store with graphs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.store)
    for title in ("start", *VISITS):
        told = ", ".join(f"{value:,.2f} {name}" for name, value in found[title].items())
        print(f"{title}: {told}")
    print(f"load: {os.getloadavg()[0]:.1f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
