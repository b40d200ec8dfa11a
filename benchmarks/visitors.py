"""Does memory stay as it is while visitors come and go? Are four at once too many?

Serves a store, and opens its page in an installed Chromium again and again: each
visitor looks at all views, chooses classes and leaves. After every few of them, once
their pages are given up, the memory of the server is read. Then four look at once, each
in a window of its own, and every click is timed inside the page.

Visitors choose among the same few classes, so that what the server keeps of its answers
is there after the first of them: what grows then is a leak. With ``--classes 1000``
each chooses others, of those that the list shows, and what is kept goes on to fill.
Memory is flat if a line through the second half of the visits rises by less than
``FLAT_MB`` a visit.

    python benchmarks/visitors.py --store run.zarr --visits 50
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
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
"""Until the server has given up the pages of those who left: it waits 15 s for each,
and looks every 17 s."""

FLAT_MB = 0.1
"""A visit: less is what the allocator of a process does with the same work."""

CLASSES = 7
"""Among which visitors choose."""

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


async def settled_mb(pid: int) -> float:
    """Return the memory once it does not fall any more, as it does while pages go."""
    await asyncio.sleep(SECONDS_UNTIL_GONE)
    before, now = float("inf"), memory_mb(pid)
    while now < before - 1:
        await asyncio.sleep(5)
        before, now = now, memory_mb(pid)
    return now


def mb_a_visit(memory: list[dict[str, float]]) -> float:
    """Return by how much memory rises with a visit, by least squares."""
    visits, mb = ([one[key] for one in memory] for key in ("visits", "mb"))
    return statistics.linear_regression(visits, mb).slope


def second_half(memory: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the later looks at the memory, two at least."""
    return memory[min(len(memory) // 2, len(memory) - 2) :]


async def click(page, selector: str, nth: int, took: list[dict[str, float]]) -> None:
    found = page.locator(selector)
    if await found.count() <= nth:
        return
    await page.evaluate("frames_seen.length = 0")
    await found.nth(nth).evaluate("(node) => node.click()")
    seen = await page.evaluate(QUIET, 300)
    if seen is not None:
        took.append({"what": selector, **seen})


async def visit(
    browser, address: str, number: int, n_classes: int = CLASSES
) -> list[dict[str, float]]:
    """Look at everything, as a visitor does who has not been there before."""
    took: list[dict[str, float]] = []
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    await page.add_init_script(LISTEN)
    await page.goto(f"http://{address}", timeout=180_000)
    await page.wait_for_function(READY, timeout=120_000)
    for place, view in enumerate(VIEWS):
        await click(page, f".segment[data-view='{view}']", 0, took)
        # Of many classes only those in view are in the page.
        rows = await page.locator(".row[data-class]").count()
        nth = (number + place) % max(1, min(n_classes, rows))
        await click(page, ".row[data-class]", nth, took)
    await page.close()
    return took


async def measure(url: str, visits: int, n_classes: int) -> dict[str, object]:
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
                    pid = process.pid
                    mb = round(await settled_mb(pid) if number else memory_mb(pid), 1)
                    memory.append({"visits": number, "mb": mb})
                    print(f"{number:4d} visits: {mb:7.1f} MB", flush=True)
                if number < visits:
                    await visit(browser, address, number, n_classes)
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
    parser.add_argument(
        "--classes", type=int, default=CLASSES, help="among which visitors choose"
    )
    options = parser.parse_args()
    if options.visits < 2 * EVERY:
        parser.error(f"--visits has to be {2 * EVERY} at least")
    found = asyncio.run(measure(options.store, options.visits, options.classes))
    later = second_half(found["memory"])
    rise = mb_a_visit(later)
    print(
        f"from visit {later[0]['visits']} on: {rise:+.3f} MB a visit, "
        f"{'flat' if rise < FLAT_MB else 'not flat'} (goal < {FLAT_MB} MB)"
    )
    clicks = sorted(found["clicks"], key=lambda one: one["page"])
    slowest = clicks[-1]
    print(
        f"four at once: {len(clicks)} clicks, median "
        f"{clicks[len(clicks) // 2]['page']:.0f} ms, slowest "
        f"{slowest['page']:.0f} ms ({slowest['what']}); of the processor "
        f"{1e3 * found['seconds'] / len(clicks):.0f} ms a click, with the pages' own"
    )
    slow = sum(one["page"] > GOAL_MS for one in clicks)
    print(f"goal {GOAL_MS} ms: {f'missed by {slow} clicks' if slow else 'met'}")
    store = Store.open(options.store)
    result = {
        "command": f"python benchmarks/visitors.py --visits {options.visits}"
        f" --classes {options.classes}",
        "machine": describe_machine(),
        "run": {
            "classes": len(store.class_names),
            "instances": store.n_instances,
            "layers": len(store.shown_layers),
        },
        "memory": found["memory"],
        "later_mb_a_visit": round(rise, 3),
        "goal_mb_a_visit": FLAT_MB,
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
