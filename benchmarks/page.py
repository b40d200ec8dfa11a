"""Does the page meet its goals? Every row of their table, in a Chromium, at once.

For each store: what starting the server takes, what a first visitor waits, and what
clicks take, at the server and until they are seen, and send; of the first store also
whether four visitors at once are too many, and whether memory stays as it is. Each part
can be run by itself: ``first_visit.py``, ``interactions.py`` and ``visitors.py``.

    python benchmarks/page.py --quick                    one planted run, some minutes
    python benchmarks/page.py                            1,000 classes, 1.28 M instances
    python benchmarks/page.py --store resnet56=RUN.zarr  real stores besides
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "dashboards")]

from benchmarks import first_visit, interactions, visitors  # noqa: E402
from benchmarks.environment import describe_machine  # noqa: E402

PLANTED = {
    "planted": {"n_classes": 10, "n_instances": 3_000},
    "1,000 classes": {"n_classes": 1_000, "n_instances": 10_000},
    "1.28 M instances": {"n_classes": 1_000, "n_instances": 1_280_000},
}
QUICK = "planted"

CLICKS = 200
CLICKS_IN_A_ROUND = 28
"""Of ``interactions.visit``, about."""

VISITS = 50
FLAT = 1.05
"""Memory after the last visit, to that after the first ten, which read what is kept."""


@dataclass(frozen=True, slots=True)
class Row:
    """One goal, and what was measured."""

    store: str
    what: str
    measured: float
    goal: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is below the goal."""
        return self.measured < self.goal


def measure(name: str, url: str, n_clicks: int) -> list[Row]:
    """Measure what one visitor meets."""
    visit = first_visit.measure(url)
    rounds = max(1, round(n_clicks / CLICKS_IN_A_ROUND))
    took = interactions.summaries(interactions.measure(url, rounds))
    clicks = took[interactions.ANY]
    start, first = visit["start"], visit["first visit"]
    seen_ms, server_ms = interactions.GOAL_SEEN_MS, interactions.GOAL_MS
    empty = visit[first_visit.EMPTY]
    most_kb = max(row["max_bytes"] for row in took.values()) / 1e3
    n = int(clicks["n"])
    return [
        Row(name, "start of the server", start["seconds of a core"], 3, "s of a core"),
        Row(name, "first view", first["ms until it answers"] / 1e3, 2, "s"),
        Row(
            name,
            "an empty page of the same libraries",
            empty["ms until it answers"] / 1e3,
            2,
            "s",
        ),
        Row(
            name,
            f"any of {n} clicks, p95, at the server",
            clicks["server_p95_ms"],
            server_ms,
            "ms",
        ),
        Row(
            name, f"any of {n} clicks, p95, seen", clicks["seen_p95_ms"], seen_ms, "ms"
        ),
        Row(
            name, "bytes of a click, most", most_kb, interactions.GOAL_BYTES / 1e3, "kB"
        ),
    ]


def measure_visitors(name: str, url: str, visits: int) -> list[Row]:
    """Measure what many visitors do to one server."""
    found = asyncio.run(visitors.measure(url, visits))
    slowest = max(one["page"] for one in found["clicks"]) / 1e3
    memory = [one["mb"] for one in found["memory"]]
    early = memory[min(1, len(memory) - 1)]
    goal = visitors.GOAL_MS / 1e3
    return [
        Row(name, "four at once, slowest click", slowest, goal, "s"),
        Row(name, f"memory after {visits} visits", memory[-1], FLAT * early, "MB"),
    ]


def main() -> None:
    """Measure all stores, and print goals and what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--quick", action="store_true", help="one run, few clicks")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "page.json"
    )
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.store)
    n_clicks, visits = (CLICKS // 4, 10) if options.quick else (CLICKS, VISITS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in PLANTED.items():
            if not options.quick or (name == QUICK and not given):
                given[name] = str(Path(folder) / f"{len(given)}.zarr")
                interactions.write_run(given[name], **sizes)
        for name, url in given.items():
            rows += measure(name, url, n_clicks)
        name, url = next(iter(given.items()))
        rows += measure_visitors(name, url, visits)
    width = max(len(f"{row.store}: {row.what}") for row in rows)
    for row in rows:
        told = f"{row.measured:8.1f} {row.unit:<12} < {row.goal:g}"
        verdict = "met" if row.is_met else "MISSED"
        print(f"{f'{row.store}: {row.what}':<{width}}  {told:<32}  {verdict}")
    result = {
        "command": "python benchmarks/page.py",
        "machine": describe_machine(),
        "rows": [{**asdict(row), "is_met": row.is_met} for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
