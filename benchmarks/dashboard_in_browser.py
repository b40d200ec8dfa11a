"""How long does a visitor wait, and for how many bytes? The whole way, in a Chromium.

Serves a store, opens it as a first visitor does, and clicks: classes, layers, views,
channels of the graph. A click ends when the page shows what was asked for. All bytes
pass a relay that counts them, so that what is compressed counts as what it weighs.

    python benchmarks/dashboard_in_browser.py RUN.zarr
    python benchmarks/dashboard_in_browser.py RUN.zarr --clicks 200 --json seen.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from benchmarks.environment import describe_machine  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000
QUIET_S = 0.25
"""So long nothing more has to come before a click's bytes are counted."""

WAIT_FOR = """([kind, wanted, act]) => new Promise((done, fail) => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])])
  const find = (selector) => all(document).find((n) => n.matches?.(selector))
  const is_shown = {
    class: () => find("section.graph-panel")?.dataset.subset === wanted &&
      find(".facts .title")?.textContent.trim() === wanted,
    layer: () => find(`[data-layer="${wanted}"]`)?.ariaChecked === "true" &&
      find("section.map-panel .title")?.textContent.endsWith(
        find(`[data-layer="${wanted}"] .layer-name`).textContent),
    view: () => document.documentElement.dataset.view === wanted,
    pin: () => Boolean(find(".node.pinned")) && Boolean(find(".card.pinned")),
  }[kind]
  const target = find(act)
  if (!target) return fail(new Error(`nothing is ${act}`))
  const began = performance.now()
  target.dispatchEvent(new MouseEvent("click", {bubbles: true, composed: true}))
  const look = () => {
    if (is_shown()) done(performance.now() - began)
    else if (performance.now() - began > 20000) fail(new Error(`no ${kind} ${wanted}`))
    else requestAnimationFrame(look)
  }
  look()
})"""


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
        "seconds of a core": _processor_seconds(process.pid),
    }
    return process, started


def _processor_seconds(pid: int) -> float:
    """Return what a process has used so far; NaN where the system does not say."""
    file = Path(f"/proc/{pid}/stat")
    if not file.exists():
        return float("nan")
    fields = file.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _settle(page: Any, relay: Relay) -> None:
    """Wait until no more bytes come."""
    before = -1
    while before != relay.n_bytes:
        before = relay.n_bytes
        page.wait_for_timeout(1000 * QUIET_S)


def measure(store: str, n_clicks: int, seed: int) -> dict[str, Any]:
    """Serve a store and click."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit("no Chromium on the path; install one")
    relay = Relay()
    process, started = serve(store, relay)
    try:
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            opened = _open(page, relay)
            before = _processor_seconds(process.pid)
            clicks = _click(page, relay, n_clicks, random.Random(seed))
            used = _processor_seconds(process.pid) - before
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
    return {
        "store": Path(store).name,
        "start": started,
        "first visit": opened,
        "clicks": clicks,
        "seconds of the server's core a click": used / max(1, n_clicks),
        "machine": describe_machine(),
    }


def _open(page: Any, relay: Relay) -> dict[str, float]:
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
        "first paint, ms": float(paint or float("nan")),
        "ready, ms": 1000 * ready,
        "kB": relay.n_bytes / 1000,
    }


def _click(
    page: Any, relay: Relay, n_clicks: int, rng: random.Random
) -> dict[str, dict[str, float]]:
    seen: dict[str, list[tuple[float, float]]] = {}
    kinds = ["class"] * 4 + ["layer"] * 3 + ["pin", "view", "view"]
    for number in range(n_clicks):
        kind = kinds[number % len(kinds)]
        wanted, act = _choose(page, kind, rng)
        if not act:
            continue
        before = relay.n_bytes
        milliseconds = page.evaluate(WAIT_FOR, [kind, wanted, act])
        _settle(page, relay)
        seen.setdefault(kind, []).append((milliseconds, relay.n_bytes - before))
    return {kind: _told(values) for kind, values in sorted(seen.items())}


def _choose(page: Any, kind: str, rng: random.Random) -> tuple[str, str]:
    """Return what to look at, and the selector of what is clicked."""
    if kind == "class":
        rows = page.locator(".row[aria-selected='false']")
        row = rows.nth(rng.randrange(rows.count()))
        name = row.locator(".name").inner_text().strip()
        return name, f".row[data-class='{row.get_attribute('data-class')}']"
    if kind == "layer":
        layers = page.locator(".layer[aria-checked='false']")
        name = layers.nth(rng.randrange(layers.count())).get_attribute("data-layer")
        return name, f".layer[data-layer='{name}']"
    if kind == "view":
        now = page.evaluate("document.documentElement.dataset.view")
        wanted = "graph" if now == "channels" else "channels"
        return wanted, f"button[data-view='{wanted}']"
    nodes = page.locator(".node:not(.gone):not(.pinned)")
    n = nodes.count()
    key = nodes.nth(rng.randrange(n)).get_attribute("data-key") if n else ""
    return key, f".node[data-key='{key}'] .back" if key else ""


def _told(values: list[tuple[float, float]]) -> dict[str, float]:
    times = sorted(ms for ms, _ in values)
    sizes = sorted(n for _, n in values)
    return {
        "n": len(values),
        "median ms": statistics.median(times),
        "p95 ms": times[min(len(times) - 1, int(0.95 * len(times)))],
        "max ms": times[-1],
        "median kB": statistics.median(sizes) / 1000,
        "max kB": sizes[-1] / 1000,
    }


def main() -> None:
    """Measure one store and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="URL of a store with graphs")
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.store, options.clicks, options.seed)
    for title in ("start", "first visit"):
        told = ", ".join(f"{value:,.2f} {name}" for name, value in found[title].items())
        print(f"{title}: {told}")
    for kind, told in found["clicks"].items():
        print(
            f"{kind:>6} ({told['n']:3.0f}): median {told['median ms']:5.0f} ms, p95 "
            f"{told['p95 ms']:5.0f} ms, max {told['max ms']:5.0f} ms; median "
            f"{told['median kB']:6.1f} kB, max {told['max kB']:6.1f} kB"
        )
    used = found["seconds of the server's core a click"]
    print(
        f"server: {1000 * used:.0f} ms of a core a click; load {os.getloadavg()[0]:.1f}"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
