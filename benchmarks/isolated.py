"""How is each case of a benchmark measured? In a process of its own, as a worker's.

The process has a worker's environment (allocator, one thread), and nothing of another
case in its caches.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from benchmarks.environment import describe_machine
from benchmarks.extraction import run_process
from nnviz_cluster.local import worker_environment

__all__ = ["measure_cases"]

RESULTS = Path(__file__).resolve().parent / "results"


def measure_cases(
    name: str,
    document: str | None,
    cases: Collection[str],
    measure: Callable[[str, int], dict[str, Any]],
    say: Callable[[str, dict[str, Any]], str],
) -> None:
    """Be the command of a benchmark: measure, print, and write ``results/NAME.json``.

    Parameters
    ----------
    name
        Of the benchmark's module.
    document
        Of the module; its first line is the description of the command.
    cases
        What can be measured.
    measure
        From a case and a number of repetitions to its row.
    say
        A row in words.
    """
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    parser.add_argument("--only", choices=cases)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.only, arguments.repetitions)))
        return
    environment = {**os.environ, **worker_environment(1)}
    rows = {}
    for case in cases:
        if arguments.only in (None, case):
            options = ["--here", "--only", case]
            options += ["--repetitions", str(arguments.repetitions)]
            command = [sys.executable, "-m", f"benchmarks.{name}", *options]
            rows[case] = json.loads(run_process(command, environment))
            print(say(case, rows[case]), flush=True)
    result = {
        "command": " ".join([f"python -m benchmarks.{name}", *sys.argv[1:]]),
        "machine": describe_machine(),
        "rows": rows,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
