"""All benchmarks in one command: what it runs and says, what documents take of it."""

import importlib.util
import sys

import pytest

from benchmarks.report import with_figures
from benchmarks.suite import BENCHMARKS, chosen, run, table


def test_benchmarks__are_modules_that_are_there():
    modules = {benchmark.arguments.split()[0] for benchmark in BENCHMARKS}

    assert all(importlib.util.find_spec(f"benchmarks.{name}") for name in modules)
    assert sum(benchmark.limit_s for benchmark in BENCHMARKS) < 2 * 60 * 60


def test_chosen__name_that_is_not_there__says_which_are():
    assert len(chosen(["extraction"])) == 2
    with pytest.raises(SystemExit, match=r"no benchmark 'peer' here; there are.*peers"):
        chosen(["peer"])


def test_run__failure_and_too_long__are_said_in_the_table():
    failed = run([sys.executable, "-c", "raise SystemExit(3)"], 60)
    slow = run([sys.executable, "-c", "import time; time.sleep(600)"], 0.1)
    rows = [{"command": "a", **failed}, {"command": "b", **slow}]

    lines = table(rows).splitlines()

    assert lines[0].endswith("s  a  (with exit code 3)")
    assert lines[1].endswith("s  b  (stopped after 0 s)")
    assert lines[2].endswith("s  together")


def test_with_figures__changes_numbers_and_keeps_lines():
    text = "runs\nat 0.86 to\n0.91 of the speed, and 7 ms (1.0)"

    found = with_figures(text, ["at 0.5 to 1 of the speed", "and 12 ms"])

    assert found == "runs\nat 0.5 to\n1 of the speed, and 12 ms (1.0)"
    with pytest.raises(ValueError, match="says 0 times: 3 goals"):
        with_figures(text, ["3 goals"])
