"""All that is about speed, one after the other, so that the results are of one commit.

Each benchmark is a process of its own. One that fails, or needs longer than it may, is
said in the table at the end, which has the seconds of each, and the others go on; the
exit code is then 1. On two quiet cores all take about half an hour, at most
forty minutes; ``--full`` takes the sizes of the documents' largest tables, which need
hours and some 60 GB of disk.

Usage, with the real data in ``../shared`` or where ``NNVIZ_SHARED`` points::

    python -m benchmarks.suite [--full] [--only peers scaling]

Every benchmark writes its own file in ``benchmarks/results``; the seconds are kept in
``benchmarks/results/suite.json``. ``python -m benchmarks.report`` then renews the
documents' figures. What is no question of speed is not here: whether graphs matter
(``benchmarks.causal``, ``calibration``, ``composition``), faults, and what needs a
browser: ``python benchmarks/page.py`` measures every goal of the page.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from benchmarks.peer_programs import PROGRAMS

__all__ = ["Benchmark", "chosen", "run", "table"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A command, and how long it may take."""

    arguments: str
    """Module in ``benchmarks``, and its options."""
    limit_s: float
    """On two quiet cores it takes less than half of this."""
    full: str | None = None
    """The same with the options of ``--full``, if they are others."""


def _extraction(network: str, instances: int, chunk: int) -> Benchmark:
    """Return the benchmark of a network, with 24 chunks: fewer measure the start."""
    text = f"extraction --network {network} --instances {instances} --chunk {chunk}"
    return Benchmark(f"{text} --repeat 3", 600, f"{text} --repeat 5")


BENCHMARKS = (
    _extraction("resnet20", 12_000, 500),
    _extraction("squeezenet1_0", 1_536, 64),
    Benchmark("peers", 900, "peers --full --limit 3600"),
    Benchmark("influence --threads 1 --repetitions 3", 240, "influence"),
    Benchmark("relevance --repetitions 7", 120, "relevance"),
    Benchmark("text --repetitions 7", 120, "text"),
    Benchmark("chunks", 120),
    Benchmark("processor", 360),
    Benchmark("decoding", 180),
    Benchmark("graphs --graphs 300 --compared 3", 120, "graphs --graphs 1000"),
    Benchmark("dashboard", 240),
    Benchmark("subsets", 240, "subsets --full"),
    Benchmark("listing --files 200000", 180, "listing"),
    Benchmark(
        "memory --instances 250000 --chunk 512 --every 1",
        240,
        "memory --instances 1000000 --chunk 512 --every 2",
    ),
    Benchmark("scaling --repeat 1", 480, "scaling"),
    Benchmark("real_runs", 300),
)


def main() -> int:
    """Run them, print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true", help="the largest sizes; hours")
    parser.add_argument("--only", nargs="+", help="names of modules")
    options = parser.parse_args()
    machine = describe_machine()
    print("\n".join(left_out()), flush=True)
    rows = []
    for benchmark in chosen(options.only):
        arguments = (benchmark.full if options.full else None) or benchmark.arguments
        limit_s = None if options.full else benchmark.limit_s
        print(f"==> python -m benchmarks.{arguments}", flush=True)
        command = [sys.executable, "-m", *f"benchmarks.{arguments}".split()]
        rows.append({"command": arguments, **run(command, limit_s)})
    print(table(rows))
    result = {
        "command": " ".join(["python -m benchmarks.suite", *sys.argv[1:]]),
        "machine": machine,
        "rows": rows,
    }
    if options.only is None:
        text = json.dumps(result, indent=1) + "\n"
        (RESULTS / "suite.json").write_text(text, encoding="utf-8")
    return int(any(row["ended"] != "well" for row in rows))


def left_out() -> list[str]:
    """Return a line for each optional library that is not there to be compared with."""
    return [
        f"left out of benchmarks.peers: {name} (pip install {name})"
        for name, (module, _) in PROGRAMS.items()
        if importlib.util.find_spec(module) is None
    ]


def chosen(names: Sequence[str] | None) -> list[Benchmark]:
    """Return the benchmarks of these modules; None for all.

    Raises
    ------
    SystemExit
        If there is none of a name.
    """
    modules = [benchmark.arguments.split()[0] for benchmark in BENCHMARKS]
    unknown = [name for name in names or () if name not in modules]
    if unknown:
        known = ", ".join(dict.fromkeys(modules))
        msg = f"there is no benchmark {unknown[0]!r} here; there are {known}"
        raise SystemExit(msg)
    return [
        benchmark
        for benchmark, module in zip(BENCHMARKS, modules, strict=True)
        if names is None or module in names
    ]


def run(command: Sequence[str], limit_s: float | None) -> dict[str, Any]:
    """Run a command from the project's root; return its seconds, and how it ended."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    ended = "well"
    try:
        if code := process.wait(limit_s):
            ended = f"with exit code {code}"
    except subprocess.TimeoutExpired:
        ended = f"stopped after {limit_s:.0f} s"
    finally:
        # Also what it has started, which would disturb the next one.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return {"seconds": time.perf_counter() - started, "ended": ended}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the seconds of each command, and their sum, as text."""
    lines = [f"{row['seconds']:8.0f} s  {row['command']}" for row in rows]
    for number, row in enumerate(rows):
        if row["ended"] != "well":
            lines[number] += f"  ({row['ended']})"
    total = sum(row["seconds"] for row in rows)
    return "\n".join([*lines, f"{total:8.0f} s  together"])


if __name__ == "__main__":
    sys.exit(main())
