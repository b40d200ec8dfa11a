"""How fast does the page react in a browser, and how much is sent? Every interaction.

Serves a store, opens the page in an installed Chromium, and does what a visitor does:
choosing classes and layers, picking confusions, comparing, opening instances. Of each
interaction it measures the milliseconds from the message that the page sends, as it
comes to the server, to the last frame of the answer that leaves it (server). Inside the
page it measures those to when it has all answers (page), also what it asks for once it
has drawn the first, to the paint after it (seen), and the bytes of the answers, before
compression. Pictures are not counted: they come one by one, later.
What the server's processor did for it is told as well, which a loaded machine changes
little. ``any click`` is all of them together.

An answer is a message that changes something, whatever it is: numbers that are counted
in the background and come last are the last answer. The server's receipts for what the
page has sent are none. They change nothing, and the page notes them once it has drawn
what came before, so that they tell how long it draws; with them it is quiet after
``last``.

    python benchmarks/interactions.py
    python benchmarks/interactions.py --store run.zarr --repeats 10
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from benchmarks.environment import describe_machine  # noqa: E402
from benchmarks.timed_server import answer_ms  # noqa: E402
from nnviz.aggregation.aggregation import aggregate  # noqa: E402
from nnviz.aggregation.index import make_index  # noqa: E402
from nnviz.derivation.derivation import derive  # noqa: E402
from nnviz.results.run_results import RunResults  # noqa: E402
from nnviz.runs.chunk_sizes import chunk_rows  # noqa: E402
from nnviz.store.store import Store  # noqa: E402
from nnviz.subsets.naming import named_subsets  # noqa: E402
from nnviz.testing import PlantedDataset, PlantedRun, write_store  # noqa: E402

GOAL_MS = 150
GOAL_SEEN_MS = 400
GOAL_BYTES = 60_000

ANY = "any click"

LISTEN = """
(() => {
  const size = (data) => data.length ?? data.byteLength ?? data.size
  const is_header = (data) => typeof data === "string" && data.startsWith('{"msgid"')
  let kind = ""
  window.frames_seen = []
  window.WebSocket = class extends window.WebSocket {
    constructor(...given) {
      super(...given)
      this.addEventListener("message", (event) => {
        // A message is a header, which says of what kind it is, and further frames.
        if (is_header(event.data)) kind = JSON.parse(event.data).msgtype
        const frame = {way: "in", kind, at: performance.now(), bytes: size(event.data)}
        frames_seen.push(frame)
        const painted = () => { frame.painted = performance.now() }
        requestAnimationFrame(() => setTimeout(painted))
      })
    }
    send(data) {
      frames_seen.push({way: "out", at: performance.now(), bytes: size(data)})
      super.send(data)
    }
  }
})()
"""
"""Notes every frame of the page's line to the server, and when it was painted."""

QUIET = """
async (quiet) => {
  for (let n = 0; n < 400; n++) {
    await new Promise((done) => setTimeout(done, 50))
    const last = frames_seen.at(-1)
    if (last?.way === "in" && last.painted && performance.now() - last.at > quiet) break
  }
  const sent = frames_seen.find((frame) => frame.way === "out")
  const came = frames_seen.filter((frame) => frame.way === "in")
  if (!sent || !came.length) return null
  const changes = came.filter((frame) => frame.kind !== "OK")
  const answers = changes.length ? changes : came
  return {
    page: Math.max(...answers.map((frame) => frame.at)) - sent.at,
    seen: Math.max(...answers.map((frame) => frame.painted)) - sent.at,
    last: Math.max(...came.map((frame) => frame.painted)) - sent.at,
    bytes: came.reduce((sum, frame) => sum + frame.bytes, 0),
  }
}
"""
"""Waits until no answer has come for a while, and returns what did."""


def write_run(url: str, *, n_classes: int = 10, n_instances: int = 3_000) -> None:
    """Write a planted run of three layers, as the command line leaves one.

    Its chunks are as large as a plan makes them, and it has an index, as ``aggregate``
    makes one: both decide how fast a page answers.
    """
    run = PlantedRun(
        n_classes=n_classes,
        n_instances=n_instances,
        influence_ranks=3,
        accuracy=0.8,
        examples_per_channel=10,
        instances_per_chunk=chunk_rows(n_instances),
    )
    store = write_store(url, run)
    names = ("label", "prediction", "outcome")
    aggregate(store, [named_subsets(store, name) for name in names])
    make_index(store)
    derive(store, dataset=PlantedDataset(run))


class Visitor:
    """Does one thing after the other, and notes what each took."""

    def __init__(self, page, pid: int, times: Path) -> None:
        self._page, self._pid = page, pid
        self._times = times.open(encoding="utf-8")
        self.took: dict[str, list[dict[str, float]]] = {}

    def do(self, name: str, selector: str, *, nth: int = 0, quiet: int = 500) -> bool:
        found = self._page.locator(selector)
        if found.count() <= nth:
            return False
        self._page.evaluate("frames_seen.length = 0")
        self._times.read()
        used = processor_seconds(self._pid)
        found.nth(nth).evaluate("(node) => node.click()")
        took = self._page.evaluate(QUIET, quiet)
        server = answer_ms(self._times.read().splitlines())
        if took is not None and server is not None:
            took["server"] = server
            took["processor"] = 1e3 * (processor_seconds(self._pid) - used)
            self.took.setdefault(name, []).append(took)
        return True

    def settle(self) -> None:
        self._page.evaluate("frames_seen.length = 0")
        self._page.wait_for_timeout(1500)


def visit(page, visitor: Visitor, results: RunResults, repeats: int) -> None:
    layers = [layer.name for layer in results.layers]
    rng = np.random.default_rng(0)
    views = ("graph", "differences", "instances", "map", "confusions")
    for repeat in range(repeats):
        for view in views:
            visitor.do(f"view: {view}", f".segment[data-view='{view}']")
            # Of many classes only those in view are in the page.
            rows = page.locator(".row[data-class]").count()
            at = int(rng.integers(max(1, rows)))
            visitor.do(f"{view}: choose a class", ".row[data-class]", nth=at)
            layer = layers[int(rng.integers(len(layers)))]
            visitor.do(f"{view}: choose a layer", f".layer[data-layer='{layer}']")
        cells = page.locator(".confusion-cell:not(:disabled)").count()
        at = int(rng.integers(max(1, cells)))
        cell = ".confusion-cell:not(:disabled)"
        visitor.do("pick a confusion", cell, nth=at, quiet=800)
        for view in ("differences", "instances", "map", "graph"):
            visitor.do(f"A and B: {view}", f".segment[data-view='{view}']", quiet=800)
        visitor.do("view: differences", ".segment[data-view='differences']")
        at = repeat % 5
        visitor.do("differences: choose a channel", ".difference-name", nth=at)
        visitor.do("differences: this layer", ".differences [data-key='layer']")
        visitor.do("differences: all layers", ".differences [data-key='all']")
        show = ".difference-row .quiet"
        visitor.do("instances by a channel", show, nth=at)
        visitor.do("open an instance", ".square-main", nth=repeat % 4)
        visitor.do("mark an instance", ".square-mark", nth=repeat % 4)
        visitor.do("use what is marked", ".chosen-line .side-b", quiet=800)
        visitor.do("neurons: open or close", ".matrix-toggle")


def processor_seconds(pid: int) -> float:
    """Return what a process has used so far; NaN where the system does not say."""
    file = Path(f"/proc/{pid}/stat")
    if not file.exists():
        return float("nan")
    fields = file.read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(url: str, times: Path | None = None) -> tuple[subprocess.Popen[str], str]:
    """Serve a store, and note when messages come and go if ``times`` is given."""
    module = ["-m", "nnviz_dashboards"]
    if times is not None:
        times.touch()
        module = ["-m", "benchmarks.timed_server", str(times)]
    process = subprocess.Popen(
        [sys.executable, *module, url, "--port", "0", "--no-token"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return process, line.split("http://")[1].split()[0]
    raise SystemExit("the server ended")


def measure(url: str, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Do everything once, and then ``repeats`` times, of which each click is noted."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(url, repeats, Path(folder) / "times.jsonl")


def _measured(url: str, repeats: int, times: Path) -> dict[str, list[dict[str, float]]]:
    from playwright.sync_api import sync_playwright

    results = RunResults(Store.open(url))
    process, address = serve(url, times)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.add_init_script(LISTEN)
            page.goto(f"http://{address}")
            page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
            visitor = Visitor(page, process.pid, times)
            visitor.settle()
            visit(page, visitor, results, 1)  # what is read once is read now
            cold, visitor.took = visitor.took, {}
            visit(page, visitor, results, repeats)
            browser.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
    first = {f"{name}, first": took[:1] for name, took in cold.items()}
    return {**visitor.took, **{n: t for n, t in first.items() if n.startswith("A and")}}


def find_chromium() -> str:
    import shutil

    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise SystemExit("no Chromium on the path")


def summary(took: list[dict[str, float]]) -> dict[str, float]:
    keys = ("server", "page", "seen", "last", "bytes", "processor")
    columns = {key: [one[key] for one in took] for key in keys}
    return {
        "server_median_ms": round(statistics.median(columns["server"]), 1),
        "server_p95_ms": round(float(np.quantile(columns["server"], 0.95)), 1),
        "page_p95_ms": round(float(np.quantile(columns["page"], 0.95)), 1),
        "seen_median_ms": round(statistics.median(columns["seen"]), 1),
        "seen_p95_ms": round(float(np.quantile(columns["seen"], 0.95)), 1),
        "last_p95_ms": round(float(np.quantile(columns["last"], 0.95)), 1),
        "processor_mean_ms": round(statistics.fmean(columns["processor"]), 1),
        "median_bytes": int(statistics.median(columns["bytes"])),
        "max_bytes": int(max(columns["bytes"])),
        "n": len(took),
    }


def summaries(took: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Sum up each interaction, and first of all any click, once all has been read."""
    clicks = [
        one for name, many in took.items() if not name.endswith("first") for one in many
    ]
    return {
        ANY: summary(clicks),
        **{name: summary(many) for name, many in took.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a finished store; none writes a planted one")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/interactions.json"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.store or str(Path(folder) / "run.zarr")
        if options.store is None:
            write_run(url)
        store = Store.open(url)
        rows = summaries(measure(url, options.repeats))
    width = max(map(len, rows))
    print(
        f"{'interaction':<{width}}  server median   95 %  page 95 %  seen   95 %"
        "  last 95 %  core      kB, most"
    )
    for name, row in rows.items():
        print(
            f"{name:<{width}}  {row['server_median_ms']:>13.0f}  "
            f"{row['server_p95_ms']:>5.0f}  {row['page_p95_ms']:>9.0f}  "
            f"{row['seen_median_ms']:>4.0f}  "
            f"{row['seen_p95_ms']:>5.0f}  {row['last_p95_ms']:>9.0f}  "
            f"{row['processor_mean_ms']:>4.0f}  "
            f"{row['median_bytes'] / 1e3:>7.1f}  {row['max_bytes'] / 1e3:>5.1f}"
        )
    slow = [name for name, row in rows.items() if row["server_p95_ms"] > GOAL_MS]
    large = [name for name, row in rows.items() if row["max_bytes"] > GOAL_BYTES]
    print(f"goal {GOAL_MS} ms: {'missed by ' + ', '.join(slow) if slow else 'met'}")
    print(f"goal 60 kB: {'missed by ' + ', '.join(large) if large else 'met'}")
    result = {
        "command": "python benchmarks/interactions.py",
        "machine": describe_machine(),
        "run": {
            "classes": len(store.class_names),
            "instances": store.n_instances,
            "layers": len(store.shown_layers),
        },
        "goal_ms": GOAL_MS,
        "goal_bytes": GOAL_BYTES,
        "interactions": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
