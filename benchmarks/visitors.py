"""Does memory stay as it is while visitors come and go? Are four at once too many?

Serves a store, and opens its page in an installed Chromium again and again: each
visitor looks at all views, chooses classes and leaves. After every few of them, once
their pages are given up, the memory of the server is read. Then four look at once, each
in a window of its own, and every click is timed inside the page.

    python benchmarks/visitors.py --store run.zarr --visits 50
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from benchmarks.environment import describe_machine  # noqa: E402
from benchmarks.interactions import (  # noqa: E402
    LISTEN,
    QUIET,
    find_chromium,
    processor_seconds,
    serve,
)
from nnviz.store.store import Store  # noqa: E402

GOAL_MS = 1_000
"""Of a click, with four visitors at once."""

AT_ONCE = 4
EVERY = 10
"""Visits between two looks at the memory."""

SECONDS_UNTIL_GONE = 40
"""Until the server has given up the pages of those who left."""

VIEWS = ("graph", "channels", "differences", "instances", "map", "confusions")
READY = "document.documentElement.dataset.ready === 'yes'"


def memory_mb(pid: int) -> float:
    """Return what a process has in memory of its own.

    Less what it shares with others, and less the pages of mapped files, as those of an
    index: the system takes these back whenever it needs them.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


async def click(page, selector: str, nth: int, took: list[dict[str, float]]) -> None:
    found = page.locator(selector)
    if await found.count() <= nth:
        return
    await page.evaluate("frames_seen.length = 0")
    await found.nth(nth).evaluate("(node) => node.click()")
    seen = await page.evaluate(QUIET, 300)
    if seen is not None:
        took.append({"what": selector, **seen})


async def visit(browser, address: str, number: int) -> list[dict[str, float]]:
    """Look at everything, as a visitor does who has not been there before."""
    took: list[dict[str, float]] = []
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.add_init_script(LISTEN)
    await page.goto(f"http://{address}", timeout=180_000)
    await page.wait_for_function(READY, timeout=120_000)
    for place, view in enumerate(VIEWS):
        await click(page, f".segment[data-view='{view}']", 0, took)
        await click(page, ".row[data-class]", (number + place) % 7, took)
    await page.close()
    return took


async def measure(url: str, visits: int) -> dict[str, object]:
    from playwright.async_api import async_playwright

    process, address = serve(url)
    memory: list[dict[str, float]] = []
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            for number in range(visits + 1):
                if number % EVERY == 0:
                    time.sleep(SECONDS_UNTIL_GONE if number else 0)
                    mb = round(memory_mb(process.pid), 1)
                    memory.append({"visits": number, "mb": mb})
                    print(f"{number:4d} visits: {mb:7.1f} MB", flush=True)
                if number < visits:
                    await visit(browser, address, number)
            # What was read for the others is known; theirs are new windows.
            began = processor_seconds(process.pid)
            both = await asyncio.gather(
                *(visit(browser, address, number) for number in range(AT_ONCE))
            )
            seconds = processor_seconds(process.pid) - began
            await browser.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
    clicks = [one for took in both for one in took]
    return {"memory": memory, "clicks": clicks, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True, help="a finished store")
    parser.add_argument("--visits", type=int, default=50)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/visitors.json"
    )
    options = parser.parse_args()
    found = asyncio.run(measure(options.store, options.visits))
    clicks = sorted(found["clicks"], key=lambda one: one["page"])
    slowest = clicks[-1]
    print(
        f"four at once: {len(clicks)} clicks, median "
        f"{clicks[len(clicks) // 2]['page']:.0f} ms, slowest "
        f"{slowest['page']:.0f} ms ({slowest['what']}); of the processor "
        f"{1e3 * found['seconds'] / len(clicks):.0f} ms a click, with the pages' own"
    )
    store = Store.open(options.store)
    result = {
        "command": f"python benchmarks/visitors.py --visits {options.visits}",
        "machine": describe_machine(),
        "run": {
            "classes": len(store.class_names),
            "instances": store.n_instances,
            "layers": len(store.shown_layers),
        },
        "memory": found["memory"],
        "four_at_once": {
            "goal_ms": GOAL_MS,
            "clicks": len(clicks),
            "median_ms": round(clicks[len(clicks) // 2]["page"], 1),
            "slowest_ms": round(slowest["page"], 1),
            "processor_ms_a_click": round(1e3 * found["seconds"] / len(clicks), 1),
        },
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
